//! Which role may call which method: the one table.
//!
//! [`super::routes`] asks it before it looks at a call's parameters, so that no handler judges who calls; only a retry that gives
//! a job up and a word that settles a held piece are judged once more, by their parameters. The surprise: a method that is not in the table is not found, whatever the
//! router could do with it: a method that somebody forgot here is closed, not open.

use super::api::{ApiError, Peer};
use super::idl::interface;
use crate::roles::{Role, RoleSet};

/// Who may call a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Whoever could connect: what it tells is public, or about the caller.
    Nothing,
    /// Whoever has any one of these; an operator always.
    AnyOf(RoleSet),
    /// Whoever has all of these; an operator always.
    AllOf(RoleSet),
}

use Role::{Callback, Observer, Publisher, Reviewer, Submitter};

/// Tasks and states, no pieces.
const SEE: Needs = Needs::AnyOf(RoleSet::of(&[Observer, Submitter, Reviewer, Publisher]));
/// Pieces, their beginnings, and what generators wrote.
const READ: Needs = Needs::AnyOf(RoleSet::of(&[Submitter, Reviewer, Publisher]));
/// What costs money, or ends what did.
const SUBMIT: Needs = Needs::AnyOf(RoleSet::of(&[Submitter]));
/// What brings a look forward, and nothing else.
const REPORT: Needs = Needs::AnyOf(RoleSet::of(&[Submitter, Callback]));
/// What becomes of a piece.
const REVIEW: Needs = Needs::AnyOf(RoleSet::of(&[Reviewer]));
/// Both of a piece and of what costs money.
const REVIEW_AND_SUBMIT: Needs = Needs::AllOf(RoleSet::of(&[Reviewer, Submitter]));
/// What brings a piece out, and says what became of it.
const PUBLISH: Needs = Needs::AnyOf(RoleSet::of(&[Publisher]));
/// What decides about doubt, about everybody's tasks at once, or about the daemon itself.
const OPERATE: Needs = Needs::AnyOf(RoleSet::NONE);

/// Every method and who may call it.
pub const METHODS: &[(&str, Needs)] = &[
    ("org.varlink.service.GetInfo", Needs::Nothing),
    ("org.varlink.service.GetInterfaceDescription", Needs::Nothing),
    ("io.contentd.Daemon.Ping", Needs::Nothing),
    ("io.contentd.Daemon.GetVersion", Needs::Nothing),
    ("io.contentd.Daemon.GetStatus", SEE),
    ("io.contentd.Daemon.Workers", SEE),
    // Its environment of generators may hold what should not be there.
    ("io.contentd.Daemon.GetConfig", OPERATE),
    // Reads every page of the database.
    ("io.contentd.Daemon.Doctor", OPERATE),
    // Runs the generator's commands.
    ("io.contentd.Daemon.TryGenerator", OPERATE),
    // Writes a file, and deletes others.
    ("io.contentd.Daemon.Backup", OPERATE),
    ("io.contentd.Daemon.Metrics", SEE),
    ("io.contentd.Daemon.Health", SEE),
    ("io.contentd.Daemon.Notices", SEE),
    ("io.contentd.Daemon.Notice", SEE),
    // Runs a command.
    ("io.contentd.Daemon.TestHook", OPERATE),
    // Keep others from being told.
    ("io.contentd.Daemon.Acknowledge", OPERATE),
    ("io.contentd.Daemon.Silence", OPERATE),
    ("io.contentd.Daemon.Pause", OPERATE),
    ("io.contentd.Daemon.Resume", OPERATE),
    ("io.contentd.Daemon.Drain", OPERATE),
    ("io.contentd.Daemon.Reload", OPERATE),
    ("io.contentd.Accounts.List", SEE),
    ("io.contentd.Accounts.Get", SEE),
    ("io.contentd.Accounts.Add", OPERATE),
    ("io.contentd.Accounts.Set", OPERATE),
    ("io.contentd.Accounts.Import", OPERATE),
    ("io.contentd.Pool.List", SEE),
    // With the keys that a piece went out under.
    ("io.contentd.Pool.Show", PUBLISH),
    ("io.contentd.Pool.Next", PUBLISH),
    // Of what the caller has; what nobody had or answered is an operator's to settle.
    ("io.contentd.Pool.Done", PUBLISH),
    ("io.contentd.Pool.Fail", PUBLISH),
    ("io.contentd.Pool.Renew", PUBLISH),
    ("io.contentd.Pool.Schedule", PUBLISH),
    ("io.contentd.Pool.Remove", PUBLISH),
    // With the first words of each piece.
    ("io.contentd.Content.List", READ),
    ("io.contentd.Content.Get", READ),
    ("io.contentd.Content.Approve", REVIEW),
    ("io.contentd.Content.Reject", REVIEW),
    ("io.contentd.Content.Edit", REVIEW),
    ("io.contentd.Content.Versions", READ),
    ("io.contentd.Content.Images", READ),
    // Decides about a piece, and has another paid for.
    ("io.contentd.Content.WriteAgain", REVIEW_AND_SUBMIT),
    ("io.contentd.Tasks.Status", SEE),
    ("io.contentd.Tasks.List", SEE),
    ("io.contentd.Tasks.Queue", SEE),
    ("io.contentd.Tasks.History", SEE),
    ("io.contentd.Tasks.Statistics", SEE),
    ("io.contentd.Tasks.Summary", SEE),
    ("io.contentd.Tasks.Wait", SEE),
    ("io.contentd.Tasks.Watch", SEE),
    // With the generator's answer as it came.
    ("io.contentd.Tasks.Show", READ),
    ("io.contentd.Tasks.Log", READ),
    ("io.contentd.Tasks.Result", READ),
    ("io.contentd.Tasks.Submit", SUBMIT),
    ("io.contentd.Tasks.SubmitBatch", SUBMIT),
    ("io.contentd.Tasks.Stage", SUBMIT),
    ("io.contentd.Tasks.SubmitStaged", SUBMIT),
    ("io.contentd.Tasks.Cancel", SUBMIT),
    ("io.contentd.Tasks.Retry", SUBMIT),
    ("io.contentd.Tasks.Set", SUBMIT),
    ("io.contentd.Tasks.Poll", SUBMIT),
    ("io.contentd.Tasks.Report", REPORT),
    ("io.contentd.Tasks.PollAll", OPERATE),
    ("io.contentd.Tasks.Correct", OPERATE),
    ("io.contentd.Tasks.Settle", OPERATE),
    ("io.contentd.Tasks.Release", OPERATE),
    // What it lets go may be published a second time.
    ("io.contentd.Pool.Release", OPERATE),
    ("io.contentd.Tasks.Cleanup", OPERATE),
    ("io.contentd.Schedules.List", SEE),
    ("io.contentd.Schedules.Get", SEE),
    ("io.contentd.Schedules.History", SEE),
    // Each of them spends money for as long as nobody looks.
    ("io.contentd.Schedules.Add", OPERATE),
    ("io.contentd.Schedules.Pause", OPERATE),
    ("io.contentd.Schedules.Resume", OPERATE),
    ("io.contentd.Schedules.Remove", OPERATE),
    // Uses up topics of somebody's plan, and may call a command of the configuration.
    ("io.contentd.Schedules.Run", OPERATE),
];

/// Who calls, and what they are to us at this moment.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub peer: Peer,
    /// Their roles.
    pub roles: RoleSet,
    /// Why they can have none, where that is so.
    pub is_nobody: Option<&'static str>,
}

/// Whether the caller may call a method; the error says what they lack, or that there is no such method.
pub fn check(caller: &Caller, method: &str) -> Result<(), ApiError> {
    let Some((_, needs)) = METHODS.iter().find(|(name, _)| *name == method) else { return Err(not_found(method)) };
    match needs {
        Needs::Nothing => Ok(()),
        Needs::AnyOf(roles) if caller.roles.suffices_for(*roles) => Ok(()),
        Needs::AllOf(roles) if caller.roles.has_all(*roles) => Ok(()),
        Needs::AnyOf(roles) => Err(denied(caller, method, *roles, least(*roles))),
        Needs::AllOf(roles) => {
            let missing = roles.without(caller.roles);
            Err(denied(caller, method, missing, missing.iter().next()))
        }
    }
}

/// A retry that gives up a job which may be alive says what `Settle` says: that one is for who may decide about doubt.
pub fn check_abandon(caller: &Caller, method: &str) -> Result<(), ApiError> {
    check_decides(caller, method, "whether a job that may be alive is given up is an operator's to say: ")
}

/// A word that settles a held piece says what `Pool.Release` says: whether it is out.
pub fn check_settling(caller: &Caller, method: &str) -> Result<(), ApiError> {
    check_decides(
        caller,
        method,
        "whether a held piece is out is an operator's to say, and a holder names the fence that it has it with: ",
    )
}

/// Whether the caller may read pieces: their titles, too, are what a generator wrote.
pub const fn reads(caller: &Caller) -> bool {
    match READ {
        Needs::AnyOf(roles) => caller.roles.suffices_for(roles),
        Needs::AllOf(roles) => caller.roles.has_all(roles),
        Needs::Nothing => true,
    }
}

/// Whether the caller may decide about doubt.
pub const fn decides(caller: &Caller) -> bool {
    caller.roles.suffices_for(RoleSet::NONE)
}

fn check_decides(caller: &Caller, method: &str, why: &str) -> Result<(), ApiError> {
    if decides(caller) {
        return Ok(());
    }
    let mut error = denied(caller, method, RoleSet::NONE, None);
    if let ApiError::PermissionDenied { cure, .. } = &mut error {
        cure.insert_str(0, why);
    }
    Err(error)
}

fn not_found(method: &str) -> ApiError {
    match method.rsplit_once('.') {
        Some((name, _)) if interface(name).is_some() => ApiError::MethodNotFound { method: method.to_owned() },
        Some((name, _)) => ApiError::InterfaceNotFound { interface: name.to_owned() },
        None => ApiError::InterfaceNotFound { interface: method.to_owned() },
    }
}

/// `advised`: the role to ask for; none: an operator's.
fn denied(caller: &Caller, method: &str, needed: RoleSet, advised: Option<Role>) -> ApiError {
    let needed = needed.and(RoleSet::of(&[Role::Operator])).names();
    let cure = match caller.is_nobody {
        Some(why) => why.to_owned(),
        None => format!(
            "an operator adds {:?}, or a group of yours as \"@GROUP\", to roles.{} in contentd.toml, and reloads contentd",
            caller.peer.name,
            advised.unwrap_or(Role::Operator)
        ),
    };
    ApiError::PermissionDenied {
        method: method.to_owned(),
        caller: caller.peer.label(),
        roles: caller.roles.names(),
        needed,
        cure,
    }
}

/// The least of the roles, and never one that spends money where another would do.
fn least(roles: RoleSet) -> Option<Role> {
    roles.without(RoleSet::of(&[Submitter])).iter().next().or_else(|| roles.iter().next())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::idl::INTERFACES;

    #[test]
    fn who_wants_to_read_is_not_sent_for_the_role_that_spends() {
        let peer = Peer { uid: 1000, gid: 1000, pid: None, name: "ada".into() };
        let caller = Caller { peer, roles: RoleSet::of(&[Observer]), is_nobody: None };
        let cure = |method: &str| match check(&caller, method) {
            Err(ApiError::PermissionDenied { cure, .. }) => cure,
            other => panic!("a refusal was expected: {other:?}"),
        };
        for method in ["io.contentd.Tasks.Result", "io.contentd.Content.List"] {
            assert!(cure(method).contains("roles.reviewer"), "{}", cure(method));
        }
        assert!(cure("io.contentd.Tasks.Submit").contains("roles.submitter"));
        assert!(cure("io.contentd.Daemon.Pause").contains("roles.operator"));
    }

    #[test]
    fn the_table_has_every_method_of_the_idl_once() {
        let declared: Vec<String> = INTERFACES
            .iter()
            .flat_map(|interface| {
                let methods = interface.description.lines().filter_map(|line| line.strip_prefix("method "));
                methods.map(|rest| format!("{}.{}", interface.name, rest.split('(').next().unwrap_or_default()))
            })
            .collect();
        let listed: BTreeSet<&str> = METHODS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed.len(), METHODS.len(), "none stands there twice");
        assert_eq!(listed, declared.iter().map(String::as_str).collect());
    }
}
