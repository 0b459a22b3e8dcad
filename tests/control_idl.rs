//! The IDL files are a promise: held here against the structs, the methods and the errors.

#[path = "support/fake_backend.rs"]
#[allow(dead_code)]
mod fake_backend;

use std::collections::BTreeMap;

use contentd::control::api::*;
use contentd::control::client::{Client, ClientError};
use contentd::control::idl::INTERFACES;
use contentd::control::values::WireTime;
use contentd::ctl::batch;
use contentd::task::Timestamp;
use fake_backend::schedules::{fire, schedule};
use fake_backend::{TestServer, change, content, handed_out, handout, log_entry, pooled, task};
use serde::Serialize;
use serde_json::{Value, json};

/// Names of fields, in order, with whether each may be null.
type Fields = Vec<(String, bool)>;

#[derive(Default)]
struct Idl {
    /// `interface.Type` to its fields.
    types: BTreeMap<String, Fields>,
    /// `interface.Method` to parameters and reply.
    methods: BTreeMap<String, (Fields, Fields)>,
    /// `interface.Error` to its fields.
    errors: BTreeMap<String, Fields>,
}

fn fields(text: &str) -> Fields {
    let inside = text.trim().trim_start_matches('(').trim_end_matches(')');
    let fields = inside.split(',').filter_map(|field| field.split_once(':'));
    fields.map(|(name, kind)| (name.trim().to_owned(), kind.trim().starts_with('?'))).collect()
}

/// Enough of a parser for files without nested structs.
fn parse() -> Idl {
    let mut idl = Idl::default();
    for interface in INTERFACES {
        let lines = interface.description.lines().filter(|line| !line.trim_start().starts_with('#'));
        let text = lines.collect::<Vec<_>>().join(" ");
        let words: Vec<&str> = text.split_inclusive(')').collect();
        let mut declarations = words.join("").replace("interface ", "\ninterface ");
        for keyword in ["type ", "method ", "error "] {
            declarations = declarations.replace(&format!(" {keyword}"), &format!("\n{keyword}"));
        }
        let mut names = Vec::new();
        for declaration in declarations.lines().filter(|line| !line.trim().is_empty()) {
            let (keyword, rest) = declaration.trim().split_once(' ').expect("a keyword and a name");
            if keyword == "interface" {
                assert_eq!(rest.trim(), interface.name);
                continue;
            }
            let (name, shape) = rest.split_once('(').expect("a name and a shape");
            let full = format!("{}.{}", interface.name, name.trim());
            assert!(!names.contains(&full) || keyword == "error", "{full} is declared twice");
            match keyword {
                "type" => drop(idl.types.insert(full.clone(), fields(shape))),
                "error" => drop(idl.errors.insert(full.clone(), fields(shape))),
                "method" => {
                    let (parameters, reply) = shape.split_once("->").expect("a reply");
                    idl.methods.insert(full.clone(), (fields(parameters.trim().trim_end_matches(')')), fields(reply)));
                }
                other => panic!("{other} is no keyword"),
            }
            names.push(full);
        }
    }
    idl
}

fn names(fields: &Fields) -> Vec<&str> {
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn assert_fits<T: Serialize>(what: &str, expected: &Fields, example: &T) {
    let value = serde_json::to_value(example).expect("it serialises");
    let object = value.as_object().unwrap_or_else(|| panic!("{what} is no object"));
    let found: Vec<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(found, names(expected), "{what}");
    for (name, is_nullable) in expected {
        assert!(*is_nullable || !object[name].is_null(), "{what}: {name} is null and the IDL has no question mark");
    }
}

const AT: WireTime = WireTime(Timestamp(0));

#[test]
fn types_have_the_fields_of_the_structs() {
    let idl = parse();
    let fits = |name: &str| idl.types.get(name).unwrap_or_else(|| panic!("no type {name}"));
    assert_fits("Task", fits("io.contentd.Tasks.Task"), &task("t", "pending"));
    assert_fits("Submission", fits("io.contentd.Tasks.Submission"), &Submission::default());
    assert_fits("Filter", fits("io.contentd.Tasks.Filter"), &TaskFilterParams::default());
    let submitted = Submitted { task_id: None, state: None, was_known: false };
    assert_fits("Submitted", fits("io.contentd.Tasks.Submitted"), &submitted);
    let attempt = AttemptView {
        attempt: 1,
        state: "accepted".into(),
        key: "k".into(),
        external_ref: None,
        generator_state: None,
        sends: 1,
        polls: 0,
        intended_at: AT,
        accepted_at: None,
        ended_at: None,
        timeout_at: None,
        error: None,
    };
    assert_fits("Attempt", fits("io.contentd.Tasks.Attempt"), &attempt);
    let entry = HistoryEntry {
        at: AT,
        event: "e".into(),
        from_state: None,
        to_state: "pending".into(),
        attempt: 0,
        attempt_from: None,
        attempt_to: None,
        why: None,
        who: "w".into(),
    };
    assert_fits("HistoryEntry", fits("io.contentd.Tasks.HistoryEntry"), &entry);
    assert_fits("LogEntry", fits("io.contentd.Tasks.LogEntry"), &log_entry("t"));
    assert_fits("Content", fits("io.contentd.Content.Content"), &content(7).content);
    assert_fits("Entry", fits("io.contentd.Pool.Entry"), &pooled(1));
    assert_fits("Handout", fits("io.contentd.Pool.Handout"), &handout());
    assert_fits("HandedOut", fits("io.contentd.Pool.HandedOut"), &handed_out());
    let out = PublicationView { published_at: AT, published_by: "blog".into(), url: None, reference: None };
    assert_fits("Publication", fits("io.contentd.Pool.Publication"), &out);
    let account = AccountView {
        account_id: 1,
        name: "n".into(),
        external_id: None,
        is_enabled: true,
        created_at: AT,
        settings: Default::default(),
        submits_today: Some(3),
    };
    assert_fits("Account", fits("io.contentd.Accounts.Account"), &account);
    assert_fits("Settings", fits("io.contentd.Accounts.Settings"), &account.settings);
    assert_fits("account Entry", fits("io.contentd.Accounts.Entry"), &AccountEntryValue::default());
    let imported = ImportedAccount { outcome: "added".into(), account };
    assert_fits("Imported", fits("io.contentd.Accounts.Imported"), &imported);
    assert_fits("Version", fits("io.contentd.Content.Version"), &VersionView::from(&content(7)));
    let image = ImageView {
        position: 0,
        url: "u".into(),
        state: "waiting".into(),
        tries: 0,
        next_try_at: None,
        file: None,
        media_type: None,
        bytes: None,
        error: None,
    };
    assert_fits("Image", fits("io.contentd.Content.Image"), &image);
    let entry = PooledView { pool_id: 1, status: "held".into(), scheduled_at: AT, held_reason: None };
    assert_fits("Pooled", fits("io.contentd.Content.Pooled"), &entry);
    let generator = GeneratorView {
        name: "g".into(),
        is_available: true,
        faults: vec![],
        breaker: "closed".into(),
        breaker_reason: None,
        next_probe_at: None,
        in_flight: 0,
        max_in_flight: 5,
        submits_today: Some(3),
        submits_per_day: Some(5),
    };
    assert_fits("Generator", fits("io.contentd.Daemon.Generator"), &generator);
    let pause = PauseView { generator: None, account_id: None, reason: None, who: "w".into(), since: AT };
    assert_fits("PauseEntry", fits("io.contentd.Daemon.PauseEntry"), &pause);
    let worker = WorkerView { worker_id: 1, state: "idle".into(), task_id: None, since: AT, processed: 0, restarts: 0 };
    assert_fits("Worker", fits("io.contentd.Daemon.Worker"), &worker);
    let finding = Finding::ok("disk", "there is room");
    assert_fits("Finding", fits("io.contentd.Daemon.Finding"), &finding);
    let of = |name: &str| format!("io.contentd.Schedules.{name}");
    assert_fits("Topic", fits(&of("Topic")), &TopicParams::default());
    assert_fits("NewSchedule", fits(&of("NewSchedule")), &NewScheduleParams::default());
    assert_fits("Time", fits(&of("Time")), &ScheduleTime { at: AT, local: "l".into() });
    assert_fits("Schedule", fits(&of("Schedule")), &schedule(None));
    assert_fits("Fire", fits(&of("Fire")), &fire());
    let entry = fake_backend::notice("n");
    assert_fits("NoticeEntry", fits("io.contentd.Daemon.NoticeEntry"), &entry);
    assert_fits("Delivery", fits("io.contentd.Daemon.Delivery"), &entry.deliveries[0]);
    let hook = HookView { name: "mail".into(), waiting: 0, oldest_at: None, given_up: 0 };
    assert_fits("Hook", fits("io.contentd.Daemon.Hook"), &hook);
    let publisher = PublisherView { name: "site".into(), is_away: false, why: None, since: None, next_probe_at: None };
    assert_fits("Publisher", fits("io.contentd.Daemon.Publisher"), &publisher);
    let check = CheckView {
        name: "disk".into(),
        status: "ok".into(),
        text: "t".into(),
        value: 0.0,
        limit: 1.0,
        critical_limit: None,
        unit: "bytes".into(),
        is_wrong_below: true,
        severity: "critical".into(),
        since: None,
        acknowledged_by: None,
    };
    assert_fits("Check", fits("io.contentd.Daemon.Check"), &check);
    let mut expected: Vec<&str> = batch::FIELDS.to_vec();
    expected.sort_unstable();
    assert_eq!(names(fits("io.contentd.Tasks.Submission")), expected, "batch files have the same fields");
}

#[test]
fn parameters_have_the_fields_of_the_structs() {
    let idl = parse();
    let cases: Vec<(&str, Value)> = vec![
        ("Tasks.Submit", json!(SubmitParams::default())),
        ("Tasks.SubmitBatch", json!(SubmitBatchParams::default())),
        ("Tasks.Stage", json!(StageParams::default())),
        ("Tasks.SubmitStaged", json!(SubmitStagedParams::default())),
        ("Tasks.Status", json!(TaskParams::default())),
        ("Tasks.Show", json!(TaskParams::default())),
        ("Tasks.History", json!(TaskParams::default())),
        ("Tasks.Result", json!(TaskParams::default())),
        ("Tasks.Log", json!(TaskParams::default())),
        ("Tasks.Poll", json!(TaskParams::default())),
        ("Tasks.PollAll", json!({})),
        ("Tasks.List", json!(ListParams::default())),
        ("Tasks.Queue", json!(QueueParams::default())),
        ("Tasks.Cancel", json!(CancelParams::default())),
        ("Tasks.Release", json!(ReleaseParams::default())),
        ("Tasks.Retry", json!(RetryParams::default())),
        ("Tasks.Correct", json!(CorrectParams::default())),
        ("Tasks.Settle", json!(SettleParams::default())),
        ("Tasks.Set", json!(SetParams::default())),
        ("Tasks.Cleanup", json!(CleanupParams::default())),
        ("Tasks.Statistics", json!(StatisticsParams::default())),
        ("Tasks.Summary", json!(SummaryParams::default())),
        ("Tasks.Report", json!(ReportParams::default())),
        ("Tasks.Wait", json!(WaitParams::default())),
        ("Tasks.Watch", json!(WatchParams::default())),
        ("Content.List", json!(ContentListParams::default())),
        ("Content.Get", json!(ContentParams::default())),
        ("Content.Approve", json!(ReviewParams::default())),
        ("Content.Reject", json!(ReviewParams::default())),
        ("Content.Edit", json!(EditParams::default())),
        ("Content.Versions", json!(ContentParams::default())),
        ("Content.Images", json!(ContentParams::default())),
        ("Content.WriteAgain", json!(WriteAgainParams::default())),
        ("Pool.List", json!(PoolListParams::default())),
        ("Pool.Release", json!(PoolReleaseParams::default())),
        ("Pool.Show", json!(PoolParams::default())),
        ("Pool.Next", json!(PoolNextParams::default())),
        ("Pool.Done", json!(PoolDoneParams::default())),
        ("Pool.Fail", json!(PoolFailParams::default())),
        ("Pool.Renew", json!(PoolRenewParams::default())),
        ("Pool.Schedule", json!(PoolScheduleParams::default())),
        ("Pool.Remove", json!(PoolRemoveParams::default())),
        ("Accounts.Add", json!(AccountAddParams::default())),
        ("Accounts.List", json!({})),
        ("Accounts.Get", json!(AccountParams::default())),
        ("Accounts.Set", json!(AccountSetParams::default())),
        ("Accounts.Import", json!(AccountImportParams::default())),
        ("Daemon.Ping", json!({})),
        ("Daemon.GetVersion", json!({})),
        ("Daemon.GetStatus", json!({})),
        ("Daemon.Workers", json!({})),
        ("Daemon.Metrics", json!({})),
        ("Daemon.Health", json!({})),
        ("Daemon.Notices", json!(NoticesParams::default())),
        ("Daemon.Notice", json!(NoticeParams::default())),
        ("Daemon.TestHook", json!(TestHookParams::default())),
        ("Daemon.Acknowledge", json!(AcknowledgeParams::default())),
        ("Daemon.Silence", json!(SilenceParams::default())),
        ("Daemon.Pause", json!(PauseParams::default())),
        ("Daemon.Resume", json!(ResumeParams::default())),
        ("Daemon.GetConfig", json!({})),
        ("Daemon.Drain", json!({})),
        ("Daemon.Reload", json!({})),
        ("Daemon.Doctor", json!({})),
        ("Daemon.TryGenerator", json!(TryGeneratorParams::default())),
        ("Daemon.Backup", json!(BackupParams::default())),
        ("Schedules.Add", json!(ScheduleAddParams::default())),
        ("Schedules.List", json!({})),
        ("Schedules.Get", json!(ScheduleParams::default())),
        ("Schedules.Run", json!(ScheduleParams::default())),
        ("Schedules.Pause", json!(SchedulePauseParams::default())),
        ("Schedules.Resume", json!(ScheduleParams::default())),
        ("Schedules.Remove", json!(ScheduleParams::default())),
        ("Schedules.History", json!(ScheduleHistoryParams::default())),
    ];
    for (method, example) in &cases {
        let (parameters, _) = idl.methods.get(&format!("io.contentd.{method}")).unwrap_or_else(|| panic!("{method}"));
        assert_fits(method, parameters, example);
    }
    let ours = idl.methods.keys().filter(|method| method.starts_with("io.contentd.")).count();
    assert_eq!(ours, cases.len(), "every method of the IDL is looked at");
}

/// Parameters that the fake backend answers well.
fn good_parameters(method: &str) -> Value {
    match method.trim_start_matches("io.contentd.") {
        "Tasks.Submit" => json!({"task": {"account": "1", "topic": "t"}}),
        "Tasks.SubmitBatch" => json!({"tasks": [{"account": "1", "topic": "t"}]}),
        "Tasks.Stage" => json!({"batch": "b", "part": 0, "tasks": [{"account": "1", "topic": "t"}]}),
        "Tasks.SubmitStaged" => json!({"batch": "b", "parts": 1}),
        "Tasks.Status" | "Tasks.Show" | "Tasks.History" | "Tasks.Result" | "Tasks.Log" | "Tasks.Poll" => {
            json!({"task": "task-done"})
        }
        "Tasks.Cancel" | "Tasks.Release" | "Tasks.Retry" => json!({"tasks": ["task-a"]}),
        "Tasks.Correct" => json!({"task": "task-a", "state": "failed", "reason": "r"}),
        "Tasks.Settle" => json!({"task": "task-a", "absent": true}),
        "Tasks.Set" => json!({"task": "task-a", "priority": 5}),
        "Tasks.Wait" => json!({"tasks": ["task-done"]}),
        "Content.Get" | "Content.Approve" | "Content.Reject" | "Content.Versions" | "Content.Images" => {
            json!({"content_id": 7})
        }
        "Content.Edit" => json!({"content_id": 7, "content_hash": "h", "content": "c"}),
        "Content.WriteAgain" => json!({"content_id": 7, "remark": "r"}),
        "Accounts.Set" => json!({"account": "1", "is_enabled": false}),
        "Accounts.Import" => json!({"accounts": [{"name": "n"}]}),
        "Pool.Release" => json!({"pool_ids": [1]}),
        "Pool.Show" | "Pool.Schedule" | "Pool.Remove" => json!({"pool_id": 1}),
        "Pool.Done" | "Pool.Renew" => json!({"pool_id": 1, "fence": 1}),
        "Pool.Fail" => json!({"pool_id": 1, "fence": 1, "error": "e"}),
        "Accounts.Add" => json!({"name": "n"}),
        "Daemon.TryGenerator" => json!({"generator": "g"}),
        "Schedules.Add" => {
            json!({"schedule": {"name": "s", "every": "1h", "accounts": ["1"], "list": [{"topic": "t"}]}})
        }
        "Schedules.List" => json!({}),
        name if name.starts_with("Schedules.") => json!({"schedule": "s"}),
        "Daemon.Notice" => json!({"notice": "n"}),
        "Daemon.TestHook" => json!({"hook": "mail"}),
        "Daemon.Acknowledge" => json!({"alarm": "disk"}),
        "Tasks.Report" => json!({"key": "000102030405060708090a0b0c0d0e0f"}),
        _ => json!({}),
    }
}

#[test]
fn every_method_answers_with_the_fields_of_its_reply() {
    let idl = parse();
    let server = TestServer::start();
    let mut seen = 0;
    let mut methods: Vec<&String> = idl.methods.keys().filter(|method| method.starts_with("io.contentd.")).collect();
    // A batch is staged before it is submitted.
    methods.sort_by_key(|method| !method.ends_with(".Stage"));
    for method in methods {
        let (_, reply) = &idl.methods[method];
        let mut client = Client::connect(std::slice::from_ref(&server.path)).expect("it listens");
        match client.call::<_, Value>(method, &good_parameters(method)) {
            Ok(value) => assert_fits(method, reply, &value),
            Err(ClientError::Refused(error)) => {
                let is_expected = matches!(
                    (method.as_str(), &error),
                    ("io.contentd.Tasks.Watch", ApiError::ExpectedMore)
                        | ("io.contentd.Accounts.Get", ApiError::InvalidParameter { .. })
                        | ("io.contentd.Daemon.Reload", ApiError::ReloadRefused { .. })
                );
                assert!(is_expected, "{method}: {error}");
            }
            Err(error) => panic!("{method}: {error}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 74);
    assert_fits("Watch", &idl.methods["io.contentd.Tasks.Watch"].1, &change("task-a"));
    let reload = ReloadReply { changed: vec![], needs_restart: vec![], warnings: vec![] };
    assert_fits("Reload", &idl.methods["io.contentd.Daemon.Reload"].1, &reload);
}

fn every_error() -> Vec<ApiError> {
    let text = || "x".to_owned();
    let fault = FieldFault { index: Some(0), field: text(), value: text(), cure: text() };
    vec![
        ApiError::TaskNotFound { task: text() },
        ApiError::AmbiguousTask { prefix: text(), candidates: vec![text()] },
        ApiError::WrongState { task: text(), state: text(), action: text(), cure: text() },
        ApiError::JobMayBeAlive { task: text(), attempt: 1, external_ref: None, cure: text() },
        ApiError::CallInFlight { task: text() },
        ApiError::RetriesSpent { task: text(), retry_count: 3, max_retries: 3 },
        ApiError::GeneratorNotFound { generator: text(), known: vec![] },
        ApiError::GeneratorUnavailable { generator: text(), reason: text() },
        ApiError::InvalidField { field: text(), value: text(), cure: text() },
        ApiError::BatchRefused { faults: vec![fault], count: 1 },
        ApiError::BatchIncomplete { batch: text(), missing_part: 0 },
        ApiError::KeyReused { key: text(), task: text() },
        ApiError::KeySpent { key: text(), task: text() },
        ApiError::Busy { unfinished: 1, limit: 1, asked: None },
        ApiError::NoResult { task: text(), state: text() },
        ApiError::WatcherTooSlow,
        ApiError::AccountNotFound { account: text() },
        ApiError::AccountExists { name: text() },
        ApiError::AccountDisabled { account: text() },
        ApiError::ContentNotFound { content_id: 1 },
        ApiError::HashChanged { content_id: 1, expected: text(), actual: text() },
        ApiError::AlreadyPublished { content_id: 1 },
        ApiError::WrongReviewState { content_id: 1, review_status: text(), action: text() },
        ApiError::OwnSubmission { content_id: 1, submitted_by: None },
        ApiError::OwnEdit { content_id: 1, edited_by: "e".into() },
        ApiError::OtherVersionOut { content_id: 1, other: 2 },
        ApiError::AccountBusy { account: "a".into(), unfinished: 1, limit: 1, asked: None },
        ApiError::PoolEntryNotFound { pool_id: 1 },
        ApiError::StaleFence { pool_id: 1, fence: 1, current: 2 },
        ApiError::WrongPoolState { pool_id: 1, status: text(), action: text(), cure: text() },
        ApiError::PermissionDenied {
            method: text(),
            caller: text(),
            roles: vec![],
            needed: vec![text()],
            cure: text(),
        },
        ApiError::Draining,
        ApiError::StorageFull { reason: text() },
        ApiError::ReloadRefused { faults: vec![] },
        ApiError::BackupRefused { file: text(), reason: text(), cure: text() },
        ApiError::HookNotFound { hook: text(), known: vec![text()] },
        ApiError::AlarmNotFound { alarm: text(), firing: vec![] },
        ApiError::NoticeNotFound { notice: text() },
        ApiError::TooManyConnections { limit: 1 },
        ApiError::ReplyTooLarge { bytes: 1, limit: 1 },
        ApiError::ScheduleNotFound { schedule: text() },
        ApiError::ScheduleExists { name: text() },
        ApiError::FireUnderWay { schedule: text(), fire_id: 1 },
        ApiError::Internal { reason: text() },
        ApiError::InterfaceNotFound { interface: text() },
        ApiError::MethodNotFound { method: text() },
        ApiError::MethodNotImplemented { method: text() },
        ApiError::InvalidParameter { parameter: text() },
        ApiError::ServicePermissionDenied,
        ApiError::ExpectedMore,
    ]
}

#[test]
fn errors_have_the_names_and_fields_of_the_idl_and_a_sentence() {
    let idl = parse();
    let errors = every_error();
    for error in &errors {
        let value = serde_json::to_value(error).expect("it serialises");
        let name = value["error"].as_str().expect("a name");
        let expected = idl.errors.get(name).unwrap_or_else(|| panic!("{name} is not in the IDL"));
        let parameters = value.get("parameters").cloned().unwrap_or_else(|| json!({}));
        assert_fits(name, expected, &parameters);
        assert_eq!(&serde_json::from_value::<ApiError>(value.clone()).expect("it is read again"), error);
        assert!(error.message().contains(' '), "{}", error.message());
        assert_eq!(error.name(), name);
    }
    assert_eq!(errors.len(), idl.errors.len(), "every error of the IDL is looked at");
}
