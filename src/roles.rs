//! Who may do what: the six roles, and whom the configuration gave them to.
//!
//! Names were made numbers when the configuration was read ([`crate::config`]); which role a method takes stands in
//! [`crate::control::permissions`]. Nothing here asks the system. The surprise: the overflow ids are nobody's. The kernel
//! calls everybody by them whom it cannot name in our user namespace, so a role for them would be a role for strangers. Nor are
//! subordinate ids: whoever was lent them can call under each of them, and keeps the groups of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// What a person or a program is to contentd.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Says that a job may have ended; nothing else. For what listens to the network.
    Callback,
    /// Sees tasks, queues and states; no pieces.
    Observer,
    /// Has pieces written, and reads them.
    Submitter,
    /// Reads pieces and decides about them.
    Reviewer,
    /// Takes what was approved.
    Publisher,
    /// Everything.
    Operator,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Self; 6] =
        [Self::Callback, Self::Observer, Self::Submitter, Self::Reviewer, Self::Publisher, Self::Operator];

    /// Its name in the configuration and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Observer => "observer",
            Self::Submitter => "submitter",
            Self::Reviewer => "reviewer",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RoleSet(u8);

impl RoleSet {
    /// No role at all.
    pub const NONE: Self = Self(0);

    /// These.
    pub const fn of(roles: &[Role]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < roles.len() {
            set |= roles[index].bit();
            index += 1;
        }
        Self(set)
    }

    /// Whether this role was given; an operator's others are not counted here, see [`RoleSet::suffices_for`].
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether somebody with these may do what any one of `needed` may. An operator may everything.
    pub const fn suffices_for(self, needed: Self) -> bool {
        self.has(Role::Operator) || self.0 & needed.0 != 0
    }

    /// Whether somebody with these may do what takes all of `needed`. An operator may everything.
    pub const fn has_all(self, needed: Self) -> bool {
        self.has(Role::Operator) || self.0 & needed.0 == needed.0
    }

    /// These but those of another set.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// Their names.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|role| role.as_str().to_owned()).collect()
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The process at the other end of a connection as the kernel knew it when it connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its number then. It may be another process's by now, so nothing is decided by it.
    pub pid: Option<i32>,
    /// Its other groups; none where the kernel did not tell them, and then it is nobody.
    pub groups: Option<Vec<u32>>,
}

/// The ids by which the kernel calls whom it cannot name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unnamed {
    /// `/proc/sys/kernel/overflowuid`.
    pub uid: u32,
    /// `/proc/sys/kernel/overflowgid`.
    pub gid: u32,
}

impl Default for Unnamed {
    /// What the kernel starts with.
    fn default() -> Self {
        Self { uid: 65534, gid: 65534 }
    }
}

/// Who has which roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grants {
    own_uid: u32,
    unnamed: Unnamed,
    lent: Vec<Range<u32>>,
    users: BTreeMap<u32, RoleSet>,
    groups: BTreeMap<u32, RoleSet>,
}

impl Grants {
    /// Root and the daemon's own user are operators, and nobody else is anything: whoever is one of these two can read
    /// the database and end the daemon as it is.
    pub fn closed(own_uid: u32, unnamed: Unnamed) -> Self {
        Self { own_uid, unnamed, lent: Vec::new(), users: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Numbers of users that are lent to others for their user namespaces (subuid(5)): nobody's.
    pub fn set_lent(&mut self, lent: Vec<Range<u32>>) {
        self.lent = lent;
    }

    /// Gives a user a role.
    pub fn grant_user(&mut self, uid: u32, role: Role) {
        let roles = self.users.entry(uid).or_default();
        *roles = roles.and(RoleSet::of(&[role]));
    }

    /// Gives the members of a group a role.
    pub fn grant_group(&mut self, gid: u32, role: Role) {
        let roles = self.groups.entry(gid).or_default();
        *roles = roles.and(RoleSet::of(&[role]));
    }

    /// Whether this peer's number names nobody: the kernel has none in our user namespace, or somebody was lent it.
    pub fn is_unnamed(&self, peer: &Credentials) -> bool {
        peer.uid == self.unnamed.uid || self.lent.iter().any(|lent| lent.contains(&peer.uid))
    }

    /// What a peer is.
    pub fn roles_of(&self, peer: &Credentials) -> RoleSet {
        // Half an identity is none: what is left of it could be what somebody wanted to be left.
        let Some(groups) = &peer.groups else { return RoleSet::NONE };
        if self.is_unnamed(peer) {
            return RoleSet::NONE;
        }
        if peer.uid == 0 || peer.uid == self.own_uid {
            return RoleSet::of(&[Role::Operator]);
        }
        let own = self.users.get(&peer.uid).copied().unwrap_or_default();
        let named = [&peer.gid].into_iter().chain(groups).filter(|gid| **gid != self.unnamed.gid);
        named.filter_map(|gid| self.groups.get(gid)).fold(own, |roles, more| roles.and(*more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        Credentials { uid, gid, pid: None, groups: Some(groups.to_vec()) }
    }

    fn grants() -> Grants {
        let mut grants = Grants::closed(900, Unnamed::default());
        grants.grant_user(1000, Role::Submitter);
        grants.grant_group(50, Role::Reviewer);
        grants.grant_group(51, Role::Observer);
        // The reader refuses these; they must mean nothing all the same.
        grants.grant_user(65534, Role::Operator);
        grants.grant_group(65534, Role::Operator);
        grants
    }

    #[test]
    fn the_default_is_closed_to_all_but_root_and_the_daemons_own_user() {
        let closed = Grants::closed(900, Unnamed::default());
        let operator = RoleSet::of(&[Role::Operator]);
        assert_eq!((closed.roles_of(&peer(0, 0, &[])), closed.roles_of(&peer(900, 1, &[]))), (operator, operator));
        for uid in [1, 1000, 65534, u32::MAX] {
            assert_eq!(closed.roles_of(&peer(uid, 0, &[0, 900])), RoleSet::NONE, "{uid}: a group of root's is no role");
        }
    }

    #[test]
    fn roles_add_up_over_user_group_and_other_groups() {
        let of = |uid, gid, groups: &[u32]| grants().roles_of(&peer(uid, gid, groups)).names().join(" ");
        assert_eq!(of(1000, 1000, &[]), "submitter");
        assert_eq!(of(1000, 50, &[51, 7]), "observer submitter reviewer");
        assert_eq!(of(1001, 1001, &[50]), "reviewer");
        assert_eq!(of(1001, 51, &[]), "observer");
        assert_eq!(of(1001, 1001, &[7]), "");
    }

    #[test]
    fn whom_the_kernel_cannot_name_is_nobody() {
        assert_eq!(grants().roles_of(&peer(65534, 50, &[50])), RoleSet::NONE);
        assert_eq!(grants().roles_of(&peer(1001, 65534, &[65534])), RoleSet::NONE);
        for uid in [0, 900, 1000] {
            let without_groups = Credentials { groups: None, ..peer(uid, 50, &[]) };
            assert_eq!(grants().roles_of(&without_groups), RoleSet::NONE, "{uid}");
        }
    }

    #[test]
    fn a_number_that_somebody_was_lent_is_nobody_whatever_groups_come_along() {
        let mut grants = grants();
        grants.grant_user(100_004, Role::Operator);
        grants.set_lent(vec![100_000..165_536, 231_072..296_608]);
        for uid in [100_000, 100_004, 165_535, 231_072] {
            assert_eq!(grants.roles_of(&peer(uid, 50, &[50, 51])), RoleSet::NONE, "{uid}");
        }
        assert_eq!(grants.roles_of(&peer(165_536, 50, &[])).names(), ["reviewer"]);
    }

    #[test]
    fn an_operator_may_everything_and_no_other_role_contains_another() {
        for role in Role::ALL {
            assert!(RoleSet::of(&[Role::Operator]).suffices_for(RoleSet::of(&[role])));
            for other in Role::ALL.into_iter().filter(|other| *other != role && role != Role::Operator) {
                assert!(!RoleSet::of(&[role]).suffices_for(RoleSet::of(&[other])), "{role} {other}");
            }
            assert!(!RoleSet::NONE.suffices_for(RoleSet::of(&[role])));
        }
    }
}
