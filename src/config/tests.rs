//! Tests of the configuration: defaults, precedence, and that each fault is told with its place and its cure.

use super::*;
use crate::generator::call::{CallEnd, CallResult};
use crate::generator::spec::Yields;
use proptest::prelude::*;

fn home(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/u".to_owned())
}

fn parse(source: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Some(Path::new("c.toml")), source, &home)
}

fn good(source: &str) -> Config {
    parse(source).unwrap_or_else(|errors| panic!("{errors}"))
}

fn faults(source: &str) -> Vec<String> {
    parse(source).expect_err("faults").0.iter().map(ToString::to_string).collect()
}

/// A polled generator with everything it needs; tests put their lines before, between or behind.
fn polled(top: &str, submit: &str, poll: &str, rest: &str) -> String {
    format!(
        "[generators.g]\n{top}\n[generators.g.submit]\nrun = [\"p\", \"{{topic}}\", \"{{key}}\"]\nref = \"{{key}}\"\n{submit}\n\
         [generators.g.poll]\nrun = [\"p\", \"{{ref}}\"]\nstate = \"json:/s\"\n{poll}\n\
         [generators.g.fetch]\nrun = [\"p\", \"{{ref}}\"]\ncontent = \"text\"\n\
         [generators.g.states]\ndone = \"completed\"\nbusy = \"processing\"\n{rest}\n"
    )
}

#[test]
fn nothing_configured_is_the_defaults() {
    let config = good("");
    assert_eq!(config.daemon.database, Path::new("/home/u/.local/state/contentd/contentd.db"));
    assert_eq!(config.daemon.state_dir, Path::new("/home/u/.local/state/contentd"));
    assert_eq!((config.daemon.workers, config.daemon.drain_timeout), (4, Duration::from_secs(60)));
    assert_eq!((config.tasks.priority, config.tasks.time_limit_s, config.tasks.max_retries), (5, 1800, 3));
    assert_eq!((config.tasks.auto_approve, config.tasks.max_pending), (true, 1_000_000));
    assert_eq!(config.tasks.retry, DEFAULT_RETRY);
    assert_eq!(config.polling.interval, Duration::from_secs(30));
    assert_eq!(config.retention.finished_tasks, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!(config.retention.generator_logs, Some(Duration::from_secs(14 * 86_400)));
    assert!(config.generators.is_empty() && config.default_generator().is_none());
}

#[test]
fn contents_are_kept_and_a_wish_to_delete_them_is_refused() {
    good("[retention]\ncontents = \"never\"\n");
    let fault = faults("[retention]\ncontents = \"30d\"\n").join("\n");
    assert!(["retention.contents", "30d", "\"never\""].iter().all(|part| fault.contains(part)), "{fault}");
}

#[test]
fn the_environment_is_stronger_than_the_file() {
    let source = "[daemon]\ndatabase_url = \"sqlite:///file/c.db\"\nsocket = \"/file.sock\"\n";
    assert_eq!(good(source).daemon.database, Path::new("/file/c.db"));
    assert_eq!(good(source).daemon.state_dir, Path::new("/file"));
    assert_eq!(good(source).daemon.socket, Path::new("/file.sock"));
    let env = |name: &str| match name {
        "DATABASE_URL" => Some("sqlite:/env/c.db".to_owned()),
        "CONTENTD_SOCKET" => Some("/env.sock".to_owned()),
        "STATE_DIRECTORY" => Some("/state".to_owned()),
        "CREATOR_CLI_PATH" => Some("/opt/creator".to_owned()),
        _ => None,
    };
    let source = format!("{source}[generators.b.submit]\nrun = [\"{{creator}}\"]\ncontent = \"text\"\n");
    let config = Config::parse(None, &source, &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.daemon.database, Path::new("/env/c.db"));
    assert_eq!(config.daemon.socket, Path::new("/env.sock"));
    assert_eq!(config.daemon.state_dir, Path::new("/state"));
    let spec = config.generators.values().next().expect("a generator");
    assert_eq!(spec.submit.call.command.program(&spec.creator), "/opt/creator");
    let no_home = Config::parse(None, "", &|_| None).expect_err("no place").to_string();
    assert!(no_home.contains("daemon.database_url"), "{no_home}");
    let postgres = |name: &str| (name == "DATABASE_URL").then(|| "postgres://h/d".to_owned());
    let fault = Config::parse(None, "", &postgres).expect_err("no such database").to_string();
    assert!(fault.starts_with("DATABASE_URL: the database scheme \"postgres\""), "{fault}");
}

#[test]
fn every_fault_is_told_with_its_place_and_its_cure() {
    let source = "[daemon]\nworkers = 0\nqueue = \"redis\"\nsockt = \"/x\"\n\n[tasks]\ntime_limit = \"30 parsecs\"\n\
                  auto_approve = \"yes\"\nwhatever_is_this = 1\n[polling]\ninterval = \"0s\"\n[pooling]\n";
    assert_eq!(
        faults(source),
        [
            "c.toml:2:11: daemon.workers is the number 0, and a whole number from 1 to 256 is wanted",
            "c.toml:3:9: daemon.queue is \"redis\"; this build has one backend: \"database\"",
            "c.toml:4:1: there is no key `sockt` in [daemon]; did you mean `socket`?",
            "c.toml:7:14: tasks.time_limit: \"30 parsecs\" is no span of time: write one like \"250ms\", \"30s\", \
             \"10m\", \"1h30m\" or \"90d\"",
            "c.toml:8:16: tasks.auto_approve is the text \"yes\", and true or false is wanted",
            "c.toml:9:1: there is no key `whatever_is_this` in [tasks]; known are: auto_approve, generator, \
             max_pending, max_retries, priority, retry, time_limit",
            "c.toml:11:12: polling.interval is \"0s\", and it must be longer than nothing",
            "c.toml:12:2: there is no key `pooling` here; did you mean `polling`?",
        ]
    );
    let broken = faults("[daemon\nworkers = = 3\n");
    assert!(broken.len() >= 2 && broken[0].starts_with("c.toml:1:"), "{broken:?}");
    assert!(faults("\"ä\" = 1").join("").starts_with("c.toml:1:1: there is no key `ä` here"));
}

#[test]
fn the_default_generator_is_the_only_one_or_the_named_one() {
    let blocking = |name: &str| format!("[generators.{name}.submit]\nrun = [\"p\"]\ncontent = \"text\"\n");
    assert_eq!(good(&blocking("a")).default_generator(), Some(&"a".into()));
    let two = blocking("a") + &blocking("b");
    assert_eq!(good(&two).default_generator(), None);
    assert_eq!(good(&format!("tasks = {{ generator = \"b\" }}\n{two}")).default_generator(), Some(&"b".into()));
    let unknown = faults(&format!("tasks = {{ generator = \"c\" }}\n{two}"));
    assert_eq!(
        unknown,
        ["c.toml:1:23: tasks.generator is \"c\", and there is no such generator; configured are: a, b"]
    );
    assert!(faults(&blocking("\"../x\"")).join("").contains("is no name for a generator"));
}

#[test]
fn the_example_means_what_its_pages_say() {
    let config = good(include_str!("../../contentd.example.toml"));
    let policy = |name: &str| config.generators[&GeneratorName::from(name)].policy();
    let assumed = policy("assumed");
    assert!(assumed.is_idempotent && assumed.is_ref_our_key && assumed.can_cancel);
    assert!(!assumed.is_blocking && !assumed.can_find && !assumed.can_poll_one && !assumed.polls.is_batch);
    assert_eq!(assumed.polls.learned, None);
    let real = policy("content-creator");
    assert!(real.can_find && real.can_poll_one && real.polls.is_batch);
    assert!(!real.is_idempotent && !real.is_ref_our_key && !real.can_cancel && !real.is_blocking);
    assert_eq!((real.settle, real.find_limit), (Duration::from_secs(60), Duration::from_secs(900)));
    assert_eq!(real.dead_when.expect("dead rows").state, "pending");
    assert_eq!(real.submit_limit, Duration::from_secs(40));
    let blocking = policy("blocking");
    assert!(blocking.is_blocking && blocking.can_cancel && !blocking.is_free_to_repeat);
    let spec = &config.generators[&GeneratorName::from("content-creator")];
    let find = spec.find.as_ref().expect("a search");
    assert!(!find.is_per_job && find.batch.has_pages && find.call.command == spec.poll.as_ref().unwrap().call.command);
    assert!(matches!(spec.submit.yields, Yields::Reference(_)));
    assert_eq!(config.generators[&GeneratorName::from("assumed")].limits.submits_per_day, Some(500));
    assert!(!config.warnings().iter().any(|warning| warning.contains("publishers.")), "{:?}", config.warnings());
}

#[test]
fn a_publisher_that_cannot_take_every_title_is_told() {
    let warnings = |run: &str| {
        good(&format!(
            "[publishers.site]\nidempotent = true\n[publishers.site.publish]\nrun = [\"post\", \"{{key}}\", {run}]\n"
        ))
        .warnings()
    };
    let told = warnings("\"--title\", \"{title}\", [\"--category\", \"{category}\"]");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].starts_with("publishers.site.publish: a piece whose title") && told[1].contains("--OPTION={title}")
    );
    for run in ["\"--title={title}\"", "\"--\", \"{title}\"", "\"{file:title}\"", "\"--account\", \"{external_id}\""] {
        assert_eq!(warnings(run), Vec::<String>::new(), "{run}");
    }
}

/// Each line breaks one thing of a good generator, and the fault must say what would be right.
#[test]
fn what_would_cost_money_later_is_refused() {
    good(&polled("", "", "", ""));
    let table = [
        (polled("", "rules = [{ exit = 1, then = \"missing\" }]", "", ""), "submit cannot come to \"missing\": write one of"),
        (polled("", "rules = [{ then = \"retry\" }]", "", ""), "a rule needs a condition"),
        (polled("", "rules = [{ exit = 1 }]", "", ""), "a rule needs `then`"),
        (polled("", "rules = [{ exit = 1, timeout = true, then = \"retry\" }]", "", ""), "exclude each other"),
        (polled("", "rules = [{ stderr = \"(\", then = \"retry\" }]", "", ""), "does not compile"),
        (polled("", "rules = [{ exits = 1, then = \"retry\" }]", "", ""), "did you mean `exit`?"),
        (polled("", "content = \"text\"", "", ""), "move content to fetch"),
        (polled("", "", "", "gone = \"vanished\""), "write one of submitted, processing"),
        (polled("detached = true", "", "", ""), "detached is for a blocking command"),
        (polled("cwd = \"data\"", "", "", ""), "must be an absolute path"),
        (polled("env = { \"A=B\" = \"x\" }", "", "", ""), "no `=`"),
        (polled("secrets = { K = \"../x\" }", "", "", ""), "is no name of a credential"),
        (polled("env = { K = \"x\" }\nsecrets = { K = \"k\" }", "", "", ""), "stands in env and in secrets"),
        (polled("dead_when = { state = \"never\", unchanged_for = \"6h\" }", "", "", ""), "must be one of their states"),
        (polled("dead_when = { state = \"busy\" }", "", "", ""), "dead_when needs both"),
        (polled("retry = { initial = \"10m\", max = \"1m\" }", "", "", ""), "must not be shorter than initial"),
        (polled("", "timeout = \"2h\"", "", ""), "longer than an hour"),
        (polled("", "stdin = \"{file:topic}\"", "", ""), "only an argument can carry"),
        (polled("", "extract = { topic = \"text\" }", "", ""), "a meaning of its own"),
        (polled("", "", "error = \"jsn:/e\"", ""), "is no extractor"),
        (polled("", "", "error = \"re:(\"", ""), "generators.g.poll.error: the regular expression does not compile"),
        (polled("", "", "", "[generators.g.poll_one]\nrun = [\"p\"]\nstate = \"text\""), "remove poll_one"),
        (polled("", "", "", "[generators.g.cancel]\nrun = [\"p\", \"{batch_limit}\"]"), "no variable `{batch_limit}`"),
        (polled("", "", "", "[generators.g.find]\nlike = \"fetch\""), "can only be like \"poll\""),
        ("[generators.g]\nsubmit = 1\n".to_owned(), "a table of keys and values is wanted"),
        ("[generators.g]\ngrace = \"1s\"\n".to_owned(), "there is no [generators.g.submit]"),
        ("[generators.g.submit]\nrun = [\"p\"]\n".to_owned(), "generators.g.submit.content is missing"),
        ("[generators.g.submit]\nrun = \"p x\"\ncontent = \"text\"\n".to_owned(), "there is no shell"),
        ("[generators.g.submit]\nrun = [\"{topic}\"]\ncontent = \"text\"\n".to_owned(), "names the program"),
        ("[generators.g.submit]\nrun = [\"p\"]\ncontent = \"text\"\ntimeout = \"1m\"\n".to_owned(), "time_limit ends"),
        (
            "[generators.g]\ndetached = false\n[generators.g.submit]\nrun = [\"p\"]\ncontent = \"text\"\n".to_owned(),
            "needs free_to_repeat = true",
        ),
        (
            "[generators.g]\nidempotent = true\n[generators.g.submit]\nrun = [\"p\"]\ncontent = \"text\"\n".to_owned(),
            "is not sent twice with one key",
        ),
        (
            "[generators.g.submit]\nrun = [\"p\"]\ncontent = \"text\"\n[generators.g.fetch]\nrun = [\"p\"]\ncontent = \"text\""
                .to_owned(),
            "`fetch` is not for it",
        ),
        (
            polled("", "", "", "").replace("ref = \"{key}\"", ""),
            "generators.g.submit.ref is missing",
        ),
        (polled("", "", "", "").replace("ref = \"{key}\"", "ref = \"{task}\""), "the same for every attempt"),
        (polled("", "", "", "").replace("done = \"completed\"", ""), "no task would ever end"),
        (
            polled("idempotent = true", "", "", "").replace("\"{topic}\", \"{key}\"", "\"{topic}\""),
            "submit never says {key}",
        ),
    ];
    for (source, expected) in table {
        let told = faults(&source);
        assert_eq!(told.len(), 1, "{expected}: {told:#?}");
        assert!(told[0].starts_with("c.toml:") && told[0].contains(expected), "{expected}: {told:#?}");
    }
}

#[test]
fn a_search_for_a_mark_that_is_not_always_written_is_refused() {
    let find = "[generators.g.find]\nrun = [\"p\"]\nitems = \"json:\"\nkey = \"json:/id\"\nmatch = \"json:/r\"\n\
                mark = \"[ref:{key}]\"\n";
    let with = |args: &str| polled("", "", "", find).replace("\"{topic}\", \"{key}\"", args);
    assert!(good(&with("\"{topic} [ref:{key}]\"")).generators.len() == 1);
    for args in ["\"{topic}\"", "[\"{tone} [ref:{key}]\"]"] {
        let told = faults(&with(args)).join("\n");
        assert!(told.contains("jobs would never be found and be paid again"), "{told}");
    }
    let no_mark =
        faults(&with("\"{topic} [ref:{key}]\"").replace("mark = \"[ref:{key}]\"", "mark = \"{key}\"")).join("\n");
    assert!(no_mark.contains("mark needs text before and after one {key}"), "{no_mark}");
    let per_job = with("\"{topic} [ref:{key}]\"").replace("run = [\"p\"]\nitems", "run = [\"p\", \"{key}\"]\nitems");
    let config = good(&per_job);
    assert!(config.generators[&GeneratorName::from("g")].find.as_ref().expect("a search").is_per_job);
}

#[test]
fn a_list_and_its_pages_belong_together() {
    let list = |extra: &str, run: &str| {
        polled("", "", &format!("items = \"json:\"\nkey = \"json:/id\"\n{extra}"), "").replace(
            "[generators.g.poll]\nrun = [\"p\", \"{ref}\"]",
            &format!("[generators.g.poll]\nrun = [\"p\"{run}]"),
        )
    };
    let batch = |config: Config| config.generators[&"g".into()].batch_poll().expect("a list").1.clone();
    assert_eq!(batch(good(&list("", ""))).page_rows, None);
    let paged = batch(good(&list("batch = 50\nmax_pages = 3", ", \"{batch_limit}\", \"{batch_offset}\"")));
    assert_eq!((paged.page_rows, paged.has_pages, paged.max_pages), (Some(50), true, 3));
    let told = |source: &str| faults(source).join("\n");
    assert!(told(&list("", "").replace("items = \"json:\"", "")).contains("generators.g.poll.items is missing"));
    assert!(told(&list("batch = 50", "")).contains("together, or neither"));
    assert!(told(&list("", ", \"{batch_limit}\"")).contains("together, or neither"));
    assert!(told(&list("order = \"newest\"", "")).contains("order = \"newest\" and created together"));
    assert!(told(&list("", ", \"{ref}\"")).contains("there is no variable `{ref}`"));
}

#[test]
fn files_are_found_missing_and_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("contentd.toml");
    let here = dir.path().to_str().expect("text").to_owned();
    let env = |name: &str| match name {
        "CONFIGURATION_DIRECTORY" => Some(here.clone()),
        "HOME" => Some("/nonexistent".to_owned()),
        _ => None,
    };
    let missing = Config::load(Some(&path), &env).expect_err("no file").to_string();
    assert!(missing.starts_with(&format!("{}: cannot be read", path.display())), "{missing}");
    std::fs::write(&path, "[daemon]\nworkers = 9\n").expect("written");
    let loaded = Config::load(None, &env).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((loaded.config.daemon.workers, loaded.file.as_deref()), (9, Some(path.as_path())));
    std::fs::write(&path, [0xff, 0xfe]).expect("written");
    assert!(Config::load(None, &env).is_err());
}

#[test]
fn a_configured_generator_answers() {
    let config = good(&polled("", "rules = [{ exit = [75, 69], then = \"unavailable\" }]", "", ""));
    let rules = &config.generators[&"g".into()].submit.call.rules;
    assert_eq!(rules[0].exit, [75, 69]);
    let call =
        CallResult { end: CallEnd::Exited(0), stdout: b"{\"s\":\"done\"}".into(), stderr: vec![], is_truncated: false };
    let answer = crate::generator::interpret::poll_one_answer(&config.generators[&"g".into()], &call);
    assert!(matches!(answer, crate::task::outcome::PollAnswer::State { .. }), "{answer:?}");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(source in "[\\[\\]{}=\"a-z.\n0-9]{0,80}") {
        let _ = parse(&source);
    }

    /// Changing one character of the example gives a configuration or faults with places, and never a panic.
    #[test]
    fn a_damaged_example_is_never_a_panic(at in 0usize..8_000, with in any::<char>()) {
        let example = include_str!("../../contentd.example.toml");
        let damaged: String =
            example.chars().enumerate().map(|(i, c)| if i == at { with } else { c }).collect();
        if let Err(errors) = parse(&damaged) {
            prop_assert!(!errors.0.is_empty());
            prop_assert!(errors.0.iter().all(|error| error.line > 0 && error.column > 0));
        }
    }
}

#[test]
fn the_run_socket_is_an_absolute_path_and_the_environment_is_stronger() {
    const FILE: &str = "[daemon]\nrun_socket = \"/run/file.sock\"\n";
    assert_eq!(good("").daemon.run_socket, None);
    assert_eq!(good(FILE).daemon.run_socket, Some(PathBuf::from("/run/file.sock")));
    let with = |value: &'static str| {
        move |name: &str| if name == "CONTENTD_RUN_SOCKET" { Some(value.to_owned()) } else { home(name) }
    };
    let parse_with = |value: &'static str| Config::parse(None, FILE, &with(value));
    let socket = |value| parse_with(value).unwrap_or_else(|errors| panic!("{errors}")).daemon.run_socket;
    assert_eq!(socket("/run/env.sock"), Some(PathBuf::from("/run/env.sock")));
    assert_eq!(socket(""), Some(PathBuf::from("/run/file.sock")), "an empty one counts as unset");
    assert!(faults("[daemon]\nrun_socket = \"run.sock\"\n")[0].contains("must be an absolute path"));
    let relative = parse_with("run.sock").expect_err("relative").to_string();
    assert!(relative.contains("CONTENTD_RUN_SOCKET is \"run.sock\""), "{relative}");
}

#[test]
fn times_of_publishing_need_a_zone_and_are_judged() {
    let times = good("[publishing]\nat = \"0 9 * * *\"\nzone = \"Europe/Berlin\"\n").publishing.times.expect("said");
    assert_eq!((times.expression(), times.zone()), ("0 9 * * *", "Europe/Berlin"));
    assert!(good("").publishing.times.is_none());
    for (source, told) in [
        ("at = \"0 9 * * *\"", "publishing.at needs publishing.zone"),
        ("zone = \"UTC\"", "publishing.zone means nothing without publishing.at"),
        ("at = \"0 9 * *\"\nzone = \"UTC\"", "publishing.at: write five fields"),
        ("at = \"0 0 30 2 *\"\nzone = \"UTC\"", "publishing.at: "),
        ("at = \"0 9 * * *\"\nzone = \"Europe/Atlantis\"", "publishing.zone: \"Europe/Atlantis\" is no time zone"),
        ("at = 9\nzone = \"UTC\"", "publishing.at"),
    ] {
        let faults = faults(&format!("[publishing]\n{source}\n"));
        assert!(faults.len() == 1 && faults[0].contains(told), "{source}: {faults:?}");
    }
}
