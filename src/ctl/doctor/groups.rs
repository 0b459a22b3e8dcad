//! Whether the caller is in a group, and whether their session knows it.
//!
//! The classic: somebody was added to the group, and the session that is open is older. The names come from `/etc/passwd` and
//! `/etc/group`; a directory service is not asked, so its members are only known once they are in the group.

use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

use crate::control::client::way_in;
use crate::finding::Finding;

/// The files of names.
pub struct Names {
    passwd: String,
    group: String,
}

impl Names {
    /// Those of this machine; what cannot be read is empty.
    pub fn of_this_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    fn field(text: &str, id: u32, at: usize) -> Option<&str> {
        text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
            let is_it = fields.get(2).and_then(|field| field.parse().ok()) == Some(id);
            is_it.then(|| fields.get(at).copied()).flatten()
        })
    }

    /// A user's name, else the number.
    pub fn user_name(&self, uid: u32) -> String {
        Self::field(&self.passwd, uid, 0).map_or_else(|| uid.to_string(), str::to_owned)
    }

    /// A group's name, else the number.
    pub fn group_name(&self, gid: u32) -> String {
        Self::field(&self.group, gid, 0).map_or_else(|| gid.to_string(), str::to_owned)
    }

    /// Whether the files name this user as a member of the group.
    fn is_listed(&self, uid: u32, gid: u32) -> bool {
        let user = self.user_name(uid);
        let members = Self::field(&self.group, gid, 3).unwrap_or_default();
        let is_primary = Self::field(&self.passwd, uid, 3).and_then(|field| field.parse().ok()) == Some(gid);
        is_primary || members.split(',').any(|member| member == user)
    }
}

/// Why the caller may not use a socket of this group, and what would help.
pub fn refused(path: &Path, gid: u32, names: &Names) -> Finding {
    let has_group =
        getegid().as_raw() == gid || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid));
    told(path, gid, geteuid().as_raw(), has_group, names)
}

fn told(path: &Path, gid: u32, uid: u32, has_group: bool, names: &Names) -> Finding {
    let (group, user, shown) = (names.group_name(gid), names.user_name(uid), path.display());
    if has_group {
        let found = format!("{shown}: you are in group {group} and may not use it all the same");
        return Finding::error("socket", found, format!("`namei -l {shown}` shows which directory refuses"));
    }
    if names.is_listed(uid, gid) {
        let found = format!("{shown}: you were added to group {group}, but this session is older than that");
        return Finding::error("socket", found, format!("log in again, or `newgrp {group}` in this shell"));
    }
    let found = format!("{shown}: you ({user}) are not in group {group}, which may use it");
    Finding::error("socket", found, way_in(&group, &user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_older_than_its_group_is_told_apart() {
        let names = Names {
            passwd:
                "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbob:x:1001:990::/home/bob:/bin/sh\n"
                    .into(),
            group: "root:x:0:\ncontentd:x:990:carl,ada\n".into(),
        };
        let of = |uid, has_group| told(Path::new("/run/s"), 990, uid, has_group, &names);
        assert!(of(1000, false).found.contains("this session is older"));
        assert!(of(1000, false).cure.is_some_and(|cure| cure.contains("newgrp contentd")));
        assert!(of(1001, false).found.contains("this session is older"), "a primary group counts");
        assert!(of(4711, false).cure.is_some_and(|cure| cure.contains("usermod -aG contentd 4711")));
        assert!(of(1000, true).cure.is_some_and(|cure| cure.contains("namei")));
        for gid in [0, 1000] {
            let cure = told(Path::new("/run/s"), gid, 4711, false, &names).cure.unwrap_or_default();
            assert!(!cure.contains("usermod"), "a group that gives more than a socket: {cure}");
        }
    }
}
