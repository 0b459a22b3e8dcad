//! A stand-in for the paid model that `llm-content-creator` calls: an OpenAI-compatible endpoint and an image endpoint on
//! loopback, with a counter for each topic and step, because every call would be money.
//!
//! It must answer as the generator's prompts ask, nothing more. Words in the topic make it misbehave: `FAIL401` and
//! `FAIL500` (that HTTP status), `SLOW8000` (milliseconds before the article is written), `POOR` (the review finds the
//! article bad), `ECHO` (the article repeats the mark in its instructions). The surprise: it also plays the HTTPS proxy, and refuses, so that the generator's web search ends at once
//! and no test touches a network.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What a call to the model was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The outline; only after a search that found something.
    Plan,
    /// The article. One or more for each job.
    Write,
    /// The review of the article.
    Review,
    /// What the pictures should show.
    ImagePrompts,
    /// A picture.
    Image,
    /// The review of a picture.
    ImageReview,
}

/// The running stub; it stops when dropped.
pub struct LlmStub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<BTreeMap<(String, Step), u32>>,
    is_stopped: AtomicBool,
}

impl LlmStub {
    /// Starts it on a free port.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stub = Self { address: listener.local_addr()?, shared: Arc::default() };
        let shared = Arc::clone(&stub.shared);
        let address = stub.address;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A caller that hangs up is no error of ours.
                thread::spawn(move || answer(stream, &shared, address).ok());
            }
        });
        Ok(stub)
    }

    /// The value of `LLM_BASE_URL`.
    pub fn llm_base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The value of `ARK_API_URL`, and of `HTTPS_PROXY`.
    pub fn root_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often a step was called for a topic (its first line, as the prompts carry it).
    pub fn count(&self, topic: &str, step: Step) -> u32 {
        self.calls().get(&(topic.to_owned(), step)).copied().unwrap_or(0)
    }

    /// Every call for a topic, by step.
    pub fn counts(&self, topic: &str) -> BTreeMap<Step, u32> {
        let of_topic = |((of, step), count): (&(String, Step), &u32)| (of == topic).then_some((*step, *count));
        self.calls().iter().filter_map(of_topic).collect()
    }

    /// The topics that an article was written for, with how often.
    pub fn written(&self) -> BTreeMap<String, u32> {
        let is_written =
            |((topic, step), count): (&(String, Step), &u32)| (*step == Step::Write).then(|| (topic.clone(), *count));
        self.calls().iter().filter_map(is_written).collect()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<(String, Step), u32>> {
        self.shared.calls.lock().expect("no thread panics while it counts")
    }
}

impl Drop for LlmStub {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then looks at the flag.
        drop(TcpStream::connect(self.address));
    }
}

struct Request {
    line: String,
    body: Value,
}

fn read_request(stream: &TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { line, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn answer(stream: TcpStream, shared: &Shared, address: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let request = read_request(&stream)?;
    if request.line.starts_with("CONNECT ") {
        return respond(&stream, "403 Forbidden", "text/plain", b"no network in tests");
    }
    if request.line.starts_with("GET /img/") {
        return respond(&stream, "200 OK", "image/png", PIXEL);
    }
    if request.line.contains("/images/generations") {
        let prompt = request.body["prompt"].as_str().unwrap_or("");
        let topic = prompt.rsplit_once(IMAGE_MARK).map_or(prompt, |(topic, _)| topic);
        let number = shared.count(topic, Step::Image);
        let url = format!("http://{address}/img/{number}.png");
        return respond_json(&stream, "200 OK", &json!({ "data": [{ "url": url }] }));
    }
    if request.line.contains("/chat/completions") {
        return chat(&stream, shared, &request.body);
    }
    respond(&stream, "404 Not Found", "text/plain", b"no such endpoint")
}

impl Shared {
    fn count(&self, topic: &str, step: Step) -> u32 {
        let mut calls = self.calls.lock().expect("no thread panics while it counts");
        let count = calls.entry((topic.to_owned(), step)).or_default();
        *count += 1;
        *count
    }
}

fn chat(stream: &TcpStream, shared: &Shared, body: &Value) -> io::Result<()> {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let text = |message: &Value| message["content"].as_str().unwrap_or("").to_owned();
    let system = messages.first().map(text).unwrap_or_default();
    let prompt = messages.last().map(text).unwrap_or_default();
    let step = step_of(&system);
    let topic = topic_of(step, &prompt);
    shared.count(&topic, step);
    for (mark, status) in [("FAIL401", "401 Unauthorized"), ("FAIL500", "500 Internal Server Error")] {
        if topic.contains(mark) {
            return respond_json(stream, status, &json!({ "error": { "message": format!("told to: {mark}") } }));
        }
    }
    if step == Step::Write {
        thread::sleep(delay_of(&topic));
    }
    let content = content_of(step, &topic, &prompt);
    if body["stream"] == true { stream_chunks(stream, &content) } else { respond_whole(stream, &content) }
}

fn step_of(system: &str) -> Step {
    let known = [
        ("图片审核专家", Step::ImageReview),
        ("内容审核专家", Step::Review),
        ("配图策划", Step::ImagePrompts),
        ("内容策划", Step::Plan),
    ];
    known.iter().find(|(name, _)| system.contains(name)).map_or(Step::Write, |(_, step)| *step)
}

/// The topic that a prompt is about: beside its label, or, where only the article travels, in the article's title.
fn topic_of(step: Step, prompt: &str) -> String {
    let behind = |label: &str| {
        let (_, rest) = prompt.split_once(label)?;
        rest.lines().next().map(|line| line.trim().to_owned())
    };
    let titled = |label: &str| {
        let (_, rest) = prompt.split_once(label)?;
        rest.lines().find_map(|line| line.strip_prefix("# ")).map(|line| line.trim().to_owned())
    };
    let topic = match step {
        Step::Plan => behind("【选题】"),
        Step::Write => behind("【主题】").or_else(|| titled("【上一版文章】")),
        Step::Review => titled("【文章内容】"),
        Step::ImagePrompts => behind("【文章主题】"),
        Step::Image | Step::ImageReview => behind("文章主题: "),
    };
    topic.unwrap_or_default()
}

fn delay_of(topic: &str) -> Duration {
    let digits = topic.split_once("SLOW").map(|(_, rest)| rest).unwrap_or_default();
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    Duration::from_millis(digits.parse().unwrap_or(0))
}

/// Between the topic and the number in the prompt of a picture.
const IMAGE_MARK: &str = " · 配图 ";

fn content_of(step: Step, topic: &str, prompt: &str) -> String {
    let score = if topic.contains("POOR") { 3.0 } else { 8.5 };
    let graded = json!({ "score": score, "reason": "told to" });
    match step {
        Step::Plan => json!({
            "outline": format!("# {topic}\n\n## 引言\n\n## 正文\n\n## 结语\n"),
            "keyPoints": ["要点一", "要点二", "要点三"],
            "summary": format!("这是一篇关于{topic}的文章。").repeat(6),
        })
        .to_string(),
        Step::Write => article(topic, prompt),
        Step::Review => json!({
            "score": score, "passed": score > 7.0, "hardConstraintsPassed": true,
            "details": {
                "hardRules": { "passed": true },
                "softScores": { "relevance": graded, "coherence": graded, "completeness": graded, "readability": graded },
            },
            "fixSuggestions": ["内容可以更具体"],
        })
        .to_string(),
        Step::ImagePrompts => json!([1, 2].map(|number| format!("{topic}{IMAGE_MARK}{number}"))).to_string(),
        Step::ImageReview | Step::Image => json!({
            "score": 8.5, "passed": true,
            "details": { "relevanceScore": 8.5, "aestheticScore": 8.5, "promptMatch": 8.5 },
            "fixSuggestions": [],
        })
        .to_string(),
    }
}

/// An article that the generator's own checks accept: 500 to 2000 characters, every keyword, a title, 导语 and 结语.
fn article(topic: &str, prompt: &str) -> String {
    let keywords = prompt.split_once("【必须包含的关键词】").and_then(|(_, rest)| rest.trim_start().lines().next());
    let keywords =
        keywords.or_else(|| prompt.split_once("必须包含所有关键词：").and_then(|(_, rest)| rest.lines().next()));
    let keywords = keywords.unwrap_or("无");
    let mark =
        prompt.split_once("[ref:").and_then(|(_, rest)| rest.split_once(']')).map(|(key, _)| format!("[ref:{key}]"));
    let echo = mark.filter(|_| topic.contains("ECHO")).unwrap_or_default();
    let paragraph = "机器可以帮助选题、检索和起草，而判断什么值得写、怎样写得准确，仍然要靠人一遍又一遍地推敲。";
    let body: Vec<String> = (1..=14).map(|number| format!("第{number}点。{paragraph}")).collect();
    format!(
        "# {topic}\n\n## 导语\n\n本文谈谈{topic}。关键词：{keywords}。{echo}\n\n## 正文\n\n{}\n\n## 结语\n\n总结：谢谢阅读。\n",
        body.join("\n\n")
    )
}

fn respond_whole(stream: &TcpStream, content: &str) -> io::Result<()> {
    let answer = json!({
        "id": "chatcmpl-stub", "object": "chat.completion", "created": 0, "model": "stub",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": content }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300 },
    });
    respond_json(stream, "200 OK", &answer)
}

/// Server-sent events, each in one small write: the generator drops an event that two reads have cut.
fn stream_chunks(mut stream: &TcpStream, content: &str) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
    let characters: Vec<char> = content.chars().collect();
    for piece in characters.chunks(200) {
        let delta: String = piece.iter().collect();
        let event = json!({ "choices": [{ "index": 0, "delta": { "content": delta } }] });
        stream.write_all(format!("data: {event}\n\n").as_bytes())?;
    }
    let last = json!({
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300 },
    });
    stream.write_all(format!("data: {last}\n\ndata: [DONE]\n\n").as_bytes())
}

fn respond_json(stream: &TcpStream, status: &str, body: &Value) -> io::Result<()> {
    respond(stream, status, "application/json", body.to_string().as_bytes())
}

fn respond(mut stream: &TcpStream, status: &str, content_type: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// A PNG of one grey pixel.
const PIXEL: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49,
    0x44, 0x41, 0x54, 0x08, 0xd7, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81, 0xdd, 0x43, 0x6a, 0xf4, 0x00, 0x00,
    0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];
