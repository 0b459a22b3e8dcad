//! `[roles]` and `[review]`: whom the configuration gives which role, by name or number.
//!
//! Names become numbers here, once a load, from the machine's own files: a directory service that is slow or away must hold
//! up neither a start nor a reload, so whom only it knows is named by number. It must not decide who somebody is. The
//! surprise: a name that is not known refuses the whole configuration, because leaving it out would take somebody's role
//! away in silence.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::Range;

use toml::de::DeValue;

use super::error::Faults;
use super::reader::{Section, integer_of, wanted};
use crate::roles::{Grants, Role, Unnamed};

/// How much of /etc/subuid is read: tens of thousands of lines.
const SUBUID_BYTES: u64 = 1 << 20;

/// Who has which role.
#[derive(Clone, PartialEq, Debug)]
pub struct RolesConfig {
    /// As it was written, for people.
    pub written: BTreeMap<&'static str, Vec<String>>,
    /// By number.
    pub grants: Grants,
}

/// How pieces are reviewed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReviewConfig {
    /// Nobody approves what they submitted themselves, and nothing is approved by itself.
    pub four_eyes: bool,
}

/// The machine's users and groups.
struct Names {
    passwd: String,
    group: String,
}

impl Names {
    fn of_this_machine() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    fn id_in(text: &str, name: &str) -> Option<u32> {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    }
}

fn unnamed() -> Unnamed {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok();
    let usual = Unnamed::default();
    Unnamed { uid: read("overflowuid").unwrap_or(usual.uid), gid: read("overflowgid").unwrap_or(usual.gid) }
}

/// The beginning of a file of the system, whole lines of it.
fn beginning_of(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        // What can be read is what is known.
        let _ = file.take(SUBUID_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Numbers that users were lent, by lines of `OWNER:FIRST:COUNT`. Not those that system users have: root, ours.
fn lent_uids(subuid: &str, own_uid: u32) -> Vec<Range<u32>> {
    let lent = subuid.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1);
        let first: u32 = fields.next()?.trim().parse().ok()?;
        let count: u32 = fields.next()?.trim().parse().ok()?;
        Some(first..first.saturating_add(count))
    });
    lent.filter(|range| !range.is_empty() && !range.contains(&0) && !range.contains(&own_uid)).collect()
}

/// Reads `[roles]`; without it only root and the daemon's own user are anything.
pub(super) fn read(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> RolesConfig {
    let unnamed = unnamed();
    let own_uid = rustix::process::geteuid().as_raw();
    let mut grants = Grants::closed(own_uid, unnamed);
    grants.set_lent(lent_uids(&beginning_of("/etc/subuid"), own_uid));
    let mut reading = Reading { names: None, unnamed, roles: RolesConfig { written: BTreeMap::new(), grants } };
    let Some(mut section) = section else { return reading.roles };
    for role in Role::ALL {
        reading.read_role(&mut section, role, faults);
    }
    section.finish(faults);
    reading.roles
}

/// Reads `[review]`.
pub(super) fn read_review(section: Option<Section<'_, '_>>, faults: &mut Faults<'_>) -> ReviewConfig {
    let Some(mut section) = section else { return ReviewConfig::default() };
    let four_eyes = section.truth("four_eyes", faults).is_some_and(|value| value.value);
    section.finish(faults);
    ReviewConfig { four_eyes }
}

struct Reading {
    names: Option<Names>,
    unnamed: Unnamed,
    roles: RolesConfig,
}

impl Reading {
    fn read_role(&mut self, section: &mut Section<'_, '_>, role: Role, faults: &mut Faults<'_>) {
        let path = section.path(role.as_str());
        let Some(node) = section.node(role.as_str()) else { return };
        let DeValue::Array(entries) = node.get_ref() else {
            let right = "an array of users and of groups with @, like [\"ada\", \"@editors\"]";
            faults.at(&node.span(), wanted(&path, node.get_ref(), right));
            return;
        };
        for entry in entries.iter() {
            let text = match (entry.get_ref(), integer_of(entry)) {
                (DeValue::String(text), _) => text.to_string(),
                (_, Some(number)) => number.to_string(),
                (other, None) => {
                    faults.at(&entry.span(), wanted(&path, other, "a user, or a group as \"@GROUP\""));
                    continue;
                }
            };
            self.grant(role, &path, &text, &entry.span(), faults);
            self.roles.written.entry(role.as_str()).or_default().push(text);
        }
    }

    fn grant(&mut self, role: Role, path: &str, text: &str, span: &Range<usize>, faults: &mut Faults<'_>) {
        let (name, is_group) = text.strip_prefix('@').map_or((text, false), |name| (name, true));
        let Some(id) = self.id_of(name, is_group) else {
            let (kind, file, at) = if is_group { ("group", "/etc/group", "@") } else { ("user", "/etc/passwd", "") };
            let message = format!(
                "{path} names the {kind} {text:?}, and {file} has no such {kind}: create it, mend the name, or write its \
                 number (\"{at}1234\") if it comes from a directory service"
            );
            faults.at(span, message);
            return;
        };
        if id == if is_group { self.unnamed.gid } else { self.unnamed.uid } {
            let message = format!(
                "{path} names {text:?}, and the kernel calls everybody {id} whom it cannot name: give the role to a user \
                 or a group of its own"
            );
            faults.at(span, message);
            return;
        }
        let grants = &mut self.roles.grants;
        if is_group { grants.grant_group(id, role) } else { grants.grant_user(id, role) }
    }

    fn id_of(&mut self, name: &str, is_group: bool) -> Option<u32> {
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            // The highest number means "no change" to the kernel and is nobody's.
            return name.parse().ok().filter(|id| *id != u32::MAX);
        }
        let names = self.names.get_or_insert_with(Names::of_this_machine);
        Names::id_in(if is_group { &names.group } else { &names.passwd }, name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::roles::Credentials;

    fn parse(source: &str) -> Result<Config, String> {
        let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        Config::parse(Some(Path::new("c.toml")), source, &env).map_err(|errors| errors.to_string())
    }

    #[test]
    fn users_and_groups_go_by_name_and_by_number() {
        let source = "[roles]\nsubmitter = [\"daemon\", 4711]\nreviewer = [\"@daemon\", \"@4712\"]\nobserver = []\n";
        let config = parse(source).expect("good");
        let of = |uid, gid| {
            let peer = Credentials { uid, gid, pid: None, groups: Some(vec![]) };
            config.roles.grants.roles_of(&peer).names().join(" ")
        };
        assert_eq!(
            [of(1, 9), of(4711, 9), of(9, 1), of(4711, 4712), of(9, 9)],
            ["submitter", "submitter", "reviewer", "submitter reviewer", ""]
        );
        assert_eq!(config.roles.written["reviewer"], ["@daemon", "@4712"]);
    }

    #[test]
    fn numbers_that_users_were_lent_are_read_and_nonsense_is_not() {
        let file =
            "ada:100000:65536\n# a remark\nbob:165536:10\n1000:4294967290:100\nbad\nx:1\nroot:0:5\ny:890:20\nz:7:0\n";
        assert_eq!(super::lent_uids(file, 900), [100_000..165_536, 165_536..165_546, 4_294_967_290..u32::MAX]);
    }

    #[test]
    fn each_fault_names_the_role_the_value_and_the_cure() {
        let source = "[roles]\nsubmitter = [\"no-such-user\", \"\", 1.5]\nreviewer = [\"@no-such-group\", \"65534\"]\n\
                      observer = \"ada\"\noperator = [\"@4294967295\", \"@\"]\nauthor = []\n";
        let text = parse(source).expect_err("faults");
        let faults: Vec<&str> = text.lines().collect();
        let expected = [
            ("c.toml:2:14: roles.submitter names the user \"no-such-user\"", "mend the name"),
            ("c.toml:2:30: roles.submitter names the user \"\"", "\"1234\""),
            ("c.toml:2:34: roles.submitter is the number 1.5", "\"@GROUP\""),
            ("c.toml:3:13: roles.reviewer names the group \"@no-such-group\"", "\"@1234\""),
            ("c.toml:3:31: roles.reviewer names \"65534\"", "of its own"),
            ("c.toml:4:12: roles.observer is the text \"ada\"", "an array"),
            ("c.toml:5:13: roles.operator names the group \"@4294967295\"", "/etc/group"),
            ("c.toml:5:28: roles.operator names the group \"@\"", "/etc/group"),
            ("c.toml:6:1: there is no key `author` in [roles]", "submitter"),
        ];
        assert_eq!(faults.len(), expected.len(), "{text}");
        for (fault, (begins, has)) in faults.iter().zip(expected) {
            assert!(fault.starts_with(begins) && fault.contains(has), "{fault}");
        }
    }

    #[test]
    fn four_eyes_and_an_approval_by_itself_exclude_each_other() {
        assert!(parse("").expect("good").tasks.auto_approve);
        let strict = parse("[review]\nfour_eyes = true\n").expect("good");
        assert!(strict.review.four_eyes && !strict.tasks.auto_approve, "the default gives way");
        let fault = parse("[tasks]\nauto_approve = true\n[review]\nfour_eyes = true\n").expect_err("a contradiction");
        assert!(fault.starts_with("c.toml:2:16: tasks.auto_approve is true, and review.four_eyes"), "{fault}");
    }
}
