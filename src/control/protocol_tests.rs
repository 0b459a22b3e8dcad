use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::control::api::{ListParams, NoParams, SetParams, SubmitParams};

fn frames_of(limit: usize, chunks: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(limit);
    let mut found = Vec::new();
    for chunk in chunks {
        frames.push(chunk);
        while let Some(frame) = frames.next_frame().expect("none is too long") {
            found.push(frame);
        }
    }
    found
}

#[test]
fn messages_are_found_however_they_are_cut() {
    assert_eq!(
        frames_of(10, &[b"ab", b"c\0de\0", b"\0f", b"", b"g\0h"]),
        [b"abc".to_vec(), b"de".to_vec(), b"".to_vec(), b"fg".to_vec()]
    );
}

#[test]
fn a_message_that_is_too_long_is_refused_whole_or_half() {
    let mut frames = Frames::new(3);
    frames.push(b"abcd");
    assert_eq!(frames.next_frame(), Err(ProtocolError::TooLong { limit: 3 }));
    let mut frames = Frames::new(3);
    frames.push(b"abcd\0");
    assert_eq!(frames.next_frame(), Err(ProtocolError::TooLong { limit: 3 }));
    let mut frames = Frames::new(3);
    frames.push(b"abc\0");
    assert_eq!(frames.next_frame(), Ok(Some(b"abc".to_vec())));
}

fn wrong<P: DeserializeOwned + std::fmt::Debug>(parameters: Value) -> String {
    let frame = serde_json::to_vec(&json!({"method": "a.B", "parameters": parameters})).expect("values serialise");
    match read_parameters::<P>(&frame) {
        Err(ApiError::InvalidParameter { parameter }) => parameter,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_parameter_is_named() {
    assert_eq!(wrong::<SetParams>(json!({"task": "t", "priority": "high"})), "priority");
    assert_eq!(wrong::<SetParams>(json!({"task": 5, "priority": 5})), "task");
    assert_eq!(wrong::<SetParams>(json!({"task": "t", "delay": []})), "delay");
    assert_eq!(wrong::<SetParams>(json!({})), "task");
    assert_eq!(wrong::<SetParams>(json!({"task": "t", "priority": 5, "colour": 1})), "colour");
    assert_eq!(wrong::<SetParams>(json!({"task": "t", "priority": 5, "a`, b": 1})), "a`, b");
    assert_eq!(wrong::<SetParams>(json!([1, 2])), "parameters");
    assert_eq!(wrong::<SetParams>(json!("x")), "parameters");
    assert_eq!(wrong::<ListParams>(json!({"limit": 1, "filter": {"states": "pending"}})), "filter.states");
    assert_eq!(wrong::<ListParams>(json!({"limit": 1, "filter": 7})), "filter");
    assert_eq!(wrong::<SubmitParams>(json!({"task": {"account": 1, "topic": 7}})), "task.topic");
    assert_eq!(wrong::<SubmitParams>(json!({"task": {"account": 1}})), "task.topic");
    assert_eq!(wrong::<SubmitParams>(json!({"task": {"account": 1, "topic": "t", "prio": 1}})), "task.prio");
    assert_eq!(wrong::<SubmitParams>(json!({"dry_run": true})), "task");
    assert_eq!(wrong::<SetParams>(json!({"task": "t", "colour": {}})), "colour");
    assert_eq!(wrong::<NoParams>(json!({"x": null})), "x");
}

#[test]
fn parameters_may_be_left_out_and_numbers_stand_for_names() {
    assert_eq!(read_parameters::<ListParams>(br#"{"method":"x.Y"}"#), Ok(ListParams::default()));
    assert_eq!(read_parameters::<ListParams>(br#"{"method":"x.Y","parameters":null}"#), Ok(ListParams::default()));
    let frame = br#"{"method":"x.Y","parameters":{"task":{"account":7,"topic":"t","time_limit":90,"priority":null}}}"#;
    let submit = read_parameters::<SubmitParams>(frame).expect("it is right");
    assert_eq!(submit.task.account.as_str(), "7");
    assert_eq!(submit.task.time_limit.expect("given").as_str(), "90");
}

#[test]
fn replies_and_errors_have_the_shape_of_the_specification() {
    assert_eq!(reply_frame(b"{}", false), b"{\"parameters\":{}}\0");
    assert_eq!(reply_frame(b"{\"a\":1}", true), b"{\"parameters\":{\"a\":1},\"continues\":true}\0");
    let error = ApiError::TaskNotFound { task: "x".into() };
    assert_eq!(
        error_frame(&error),
        b"{\"error\":\"io.contentd.Tasks.TaskNotFound\",\"parameters\":{\"task\":\"x\"}}\0"
    );
    assert_eq!(error_frame(&ApiError::Draining), b"{\"error\":\"io.contentd.Daemon.Draining\"}\0");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut frames = Frames::new(200);
        for chunk in bytes.chunks(7) {
            frames.push(chunk);
            while let Ok(Some(frame)) = frames.next_frame() {
                let _ = CallHead::read(&frame);
                let _ = Reply::read(&frame);
                let _ = read_parameters::<SubmitParams>(&frame);
            }
        }
    }

    #[test]
    fn random_json_never_panics(text in r#"\{"(method|parameters|more)":("x.Y"|\{"task":[0-9"{}a-z,:]{0,20}|true|null|[0-9]{1,30})\}?"#) {
        let _ = CallHead::read(text.as_bytes());
        let _ = read_parameters::<SubmitParams>(text.as_bytes());
        let _ = read_parameters::<SetParams>(text.as_bytes());
    }

    #[test]
    fn cutting_does_not_matter(messages in proptest::collection::vec("[a-z]{0,40}", 0..20), cut in 1usize..50) {
        let stream: Vec<u8> = messages.iter().flat_map(|message| message.bytes().chain([0])).collect();
        let chunks: Vec<&[u8]> = stream.chunks(cut).collect();
        let found = frames_of(40, &chunks);
        prop_assert_eq!(found, messages.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }
}
