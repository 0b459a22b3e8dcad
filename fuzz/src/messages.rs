//! What clients of the control socket send.

use std::sync::{Arc, OnceLock};

use contentd::control::api::{ApiError, Peer};
use contentd::control::idl::INTERFACES;
use contentd::control::permissions::Caller;
use contentd::control::protocol::{CallHead, Frames, Reply, error_frame};
use contentd::control::routes::{Routed, Router};
use contentd::control::staging::Staging;
use contentd::roles::{Role, RoleSet};
use futures_util::FutureExt;

use crate::cut;
use crate::fake_backend::FakeBackend;

/// Frames: cut as they should be whatever the parts are in which the bytes come.
pub fn frames(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    let limit = usize::from(first) + 1;
    let mut frames = Frames::new(limit);
    let mut found = Vec::new();
    let mut is_too_long = false;
    // The parts' lengths come from the bytes themselves.
    let mut rest = stream;
    while let Some(&length) = rest.first() {
        let (part, after) = rest.split_at(rest.len().min(usize::from(length) % 19 + 1));
        frames.push(part);
        rest = after;
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => is_too_long = true,
            }
            if is_too_long {
                break;
            }
        }
        if is_too_long {
            break;
        }
    }
    let mut expected: Vec<&[u8]> = stream.split(|byte| *byte == 0).collect();
    let unfinished = expected.pop().unwrap_or_default();
    let first_long = expected.iter().position(|frame| frame.len() > limit);
    let whole = &expected[..first_long.unwrap_or(expected.len())];
    assert_eq!(found, whole);
    assert_eq!(is_too_long, first_long.is_some() || unfinished.len() > limit);
    for frame in &found {
        let _ =
            CallHead::read(frame).map(|head| head.split().map(|(interface, method)| interface.len() + method.len()));
        let _ = Reply::read(frame);
    }
}

/// Every method, as the interfaces describe them.
fn methods() -> &'static [String] {
    static METHODS: OnceLock<Vec<String>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let of = |interface: &'static contentd::control::idl::Interface| {
            let lines = interface.description.lines().filter_map(|line| line.strip_prefix("method "));
            lines.filter_map(move |line| Some(format!("{}.{}", interface.name, line.split('(').next()?.trim())))
        };
        INTERFACES.iter().flat_map(of).collect()
    })
}

/// Calls: the first byte names a method, then come its parameters. Or the whole is a message.
pub fn calls(data: &[u8]) {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let Some((&first, rest)) = data.split_first() else { return };
    if rest.windows(5).any(|window| window == b"panic") {
        // The backend of the tests panics when it is told so.
        return;
    }
    let frame = if first == b'{' {
        data.to_vec()
    } else {
        let method = &methods()[usize::from(first) % methods().len()];
        let (parameters, more) = cut(rest, 0);
        let more = if more.is_empty() { "" } else { ",\"more\":true" };
        [format!("{{\"method\":\"{method}\"{more},\"parameters\":").as_bytes(), parameters, b"}"].concat()
    };
    let Ok(head) = CallHead::read(&frame) else { return };
    // An operator, so that every handler is reached.
    let peer = Peer { uid: 1000, gid: 1000, pid: None, name: "ada".to_owned() };
    let caller = Caller { peer, roles: RoleSet::of(&[Role::Operator]), is_nobody: None };
    let router = Router { backend: Arc::new(FakeBackend::default()), staging: Staging::default() };
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let _entered = runtime.enter();
    let answer = match router.route(&caller, &head, &frame) {
        // Judged on another thread: nothing to see here.
        Ok(_) if head.method.ends_with(".SubmitStaged") => Ok(Vec::new()),
        Ok(Routed::Once(answer)) => answer.now_or_never().unwrap_or(Ok(Vec::new())),
        Ok(Routed::Stream(replies)) => {
            drop(replies.now_or_never());
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(bodies) => bodies.iter().for_each(|body| {
            serde_json::from_slice::<serde_json::Value>(body).expect("a reply is JSON");
        }),
        Err(error) => refused(&error),
    }
}

/// A refusal is a message with the name of an error, and says what is wrong.
fn refused(error: &ApiError) {
    let frame = error_frame(error);
    let body = frame.strip_suffix(b"\0").expect("a message ends with NUL");
    assert!(!body.contains(&0), "a NUL in an error would end it early");
    let reply = Reply::read(body).expect("an error is a reply");
    let name = reply.error.expect("it has a name");
    assert!(name.contains('.') && !name.contains(char::is_whitespace), "{name:?}");
}
