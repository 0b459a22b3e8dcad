//! Whether nothing ran since a backup, as somebody says.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::daemon::{Daemon, Setup};
use super::*;

#[test]
fn whoever_says_that_nothing_ran_since_goes_on_where_the_backup_was_made() {
    let mut daemon = Daemon::with(Setup::default());
    daemon.ctl(&["pause"]).exits(0);
    let waits = daemon.submit("Waits", &[]);
    let file = backup(&daemon, "b.db");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    assert_eq!(daemon.state(&waits), "pending");
    daemon.ctl(&["resume"]).exits(0);
    daemon.await_state(&waits, "completed");
    let pool = daemon.call("io.contentd.Pool.List", json!({}));
    assert_eq!(pool["entries"][0]["held_reason"], Value::Null, "{pool}");
}

#[test]
fn whoever_says_that_nothing_ran_since_is_not_believed_against_the_audit_trail() {
    let mut daemon = Daemon::with(Setup::default());
    let file = backup(&daemon, "b.db");
    let since = daemon.submit("Came since", &[]);
    daemon.await_state(&since, "completed");
    assert!(daemon.terminate().success());
    let before = fs::read(daemon.database()).unwrap();
    let refused = restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(1);
    assert!(refused.err.contains("--nothing-ran-since is not so") && refused.err.contains(&since), "{refused:?}");
    assert_eq!(fs::read(daemon.database()).unwrap(), before);

    // The wrong backup, and back again before anything ran: nothing is in doubt. Then the doubt of a restore stays one.
    let kept =
        |ran: &daemon::Ran| PathBuf::from(ran.out.lines().find_map(|line| line.split_once("is kept: ")).unwrap().1);
    let wrong = restore_with(&daemon, &file, &[]).exits(0);
    let back = restore_with(&daemon, &kept(&wrong), &["--nothing-ran-since"]).exits(0);
    assert!(back.out.contains("goes on where the backup was made"), "{back:?}");
    // That one holds what the wrong restore left in doubt, and nobody has begun with it.
    let undone = restore_with(&daemon, &kept(&back), &["--nothing-ran-since"]).exits(0);
    assert!(undone.out.contains("never started since"), "{undone:?}");
    sound(&daemon.database());
}

#[test]
fn a_restore_in_between_takes_no_witness_away() {
    let mut daemon = Daemon::with(Setup::default());
    let file = backup(&daemon, "b.db");
    let since = daemon.submit("Came since", &[]);
    daemon.await_state(&since, "completed");
    assert!(daemon.terminate().success());
    for restores in 1..3 {
        restore_with(&daemon, &file, &[]).exits(0);
        let refused = restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(1);
        assert!(refused.err.contains(&since), "after {restores} restores: {refused:?}");
        assert!(refused.err.contains("took the place of a database that had"), "after {restores}: {refused:?}");
    }
    sound(&daemon.database());
}

#[test]
fn a_backup_that_was_made_after_a_restore_answers_for_what_that_one_replaced() {
    let mut daemon = Daemon::with(Setup::default());
    let file = backup(&daemon, "b.db");
    let since = daemon.submit("Came since", &[]);
    daemon.await_state(&since, "completed");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &file, &[]).exits(0);
    daemon.spawn();
    daemon.await_answer();
    let newer = backup(&daemon, "newer.db");
    assert!(daemon.terminate().success());
    restore_with(&daemon, &newer, &["--nothing-ran-since"]).exits(0);
    // The one before it answers for nothing of that.
    let refused = restore_with(&daemon, &file, &["--nothing-ran-since"]).exits(1);
    assert!(refused.err.contains(&since), "{refused:?}");
    sound(&daemon.database());
}
