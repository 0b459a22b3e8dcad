//! Mutations of an output: of its bytes, of its lines, of its JSON, and of how the call ended. The same draws make the same
//! mutation.

use contentd::generator::call::{CallEnd, CallResult};
use serde_json::Value;

use super::cases::{OURS, THEIRS};
use super::oracle::RULER;

/// Random numbers that a seed and a number name (SplitMix64).
pub struct Draws(u64);

impl Draws {
    pub fn new(seed: u64, number: u64) -> Self {
        let mut draws = Self(seed ^ number.wrapping_mul(0xA076_1D64_78BD_642F));
        draws.next();
        draws
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    fn is_one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// A range of at most `longest` bytes.
    fn range(&mut self, len: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..start + self.below((len - start).min(longest) + 1)
    }
}

/// What hostile output is made of: words that decide something somewhere.
const WORDS: [&str; 48] = [
    "completed",
    "failed",
    "cancelled",
    "submitted",
    "processing",
    "pending",
    "已完成",
    "失败",
    "待处理",
    "状态: ",
    "状态: ✅ 已完成\n",
    "\n状态: ❌ 失败\n",
    "\n状态: 失败\n",
    "任务ID: ",
    "\n任务ID: 00000000-0000-0000-0000-000000000000\n",
    "内容:\n",
    "\n字数: 12\n",
    "1. ARTICLE\n",
    "📝 生成的内容:\n",
    "\n⚠️  任务尚未完成，当前状态: x\n",
    "未找到任务",
    "TaskQueue is not available",
    "unknown option",
    "必须提供",
    "\nunknown task: ",
    "\nrejected: ",
    "\nnot ready: ",
    "\nunavailable: ",
    "\nrefused: ",
    "[ref:",
    "]",
    "{",
    "}",
    "[",
    "\"",
    ",",
    ":",
    "\n",
    "\r\n",
    "\u{1b}[31m",
    "\u{1b}]0;x\u{7}",
    "null",
    "\u{feff}",
    "{\"status\":\"failed\"}\n",
    "\n{\"status\":\"completed\"}\n",
    "\n[]\n",
    "\0",
    "\u{200e}",
];
/// What nobody sees beside a word, or hardly.
const DECOYS: [&str; 8] = ["\u{200e}", "\u{202e}", "\0", "\u{1}", "\u{7f}", " ", "s", "-"];
const BYTES: [&[u8]; 4] = [b"\xff", b"\xc3", b"\xe2\x80", b"\xf0\x9f\x92"];

fn word(draws: &mut Draws, key: &str) -> Vec<u8> {
    match draws.below(60) {
        0 => OURS.into(),
        1 => THEIRS.into(),
        2 => format!("[ref:{key}]").into(),
        3 => RULER.into(),
        4 => format!("\n{RULER}\n").into(),
        5 => draws.pick(&BYTES).to_vec(),
        _ => draws.pick(&WORDS).as_bytes().to_vec(),
    }
}

/// Changes a call's result one to four times. `other` is what may be spliced in.
pub fn mutate(call: &mut CallResult, other: &CallResult, key: &str, draws: &mut Draws) {
    for _ in 0..=draws.below(4) {
        match draws.below(20) {
            0 => call.end = end(draws),
            1 => call.is_truncated = draws.is_one_in(2),
            2..=4 => mutate_bytes(&mut call.stderr, &other.stderr, key, draws),
            5..=9 => mutate_json(&mut call.stdout, key, draws),
            _ => mutate_bytes(&mut call.stdout, &other.stdout, key, draws),
        }
    }
}

fn end(draws: &mut Draws) -> CallEnd {
    match draws.below(8) {
        0 => CallEnd::TimedOut,
        1 => CallEnd::Signalled(9),
        2 => CallEnd::NotStarted("no such program".into()),
        _ => CallEnd::Exited(*draws.pick(&[0, 0, 0, 1, 1, 2, 65, 73, 75, 255])),
    }
}

fn mutate_bytes(bytes: &mut Vec<u8>, other: &[u8], key: &str, draws: &mut Draws) {
    let len = bytes.len();
    let at = draws.below(len + 1);
    match draws.below(13) {
        0 if len > 0 => bytes[at.min(len - 1)] ^= 1 << draws.below(8),
        1 if len > 0 => bytes[at.min(len - 1)] = draws.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(draws.range(len, 40))),
        4 => {
            let piece = bytes[draws.range(len, 200)].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let piece = &other[draws.range(other.len(), 600)];
            bytes.splice(at..at, piece.iter().copied());
        }
        6 => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[draws.below(other.len() + 1)..]);
        }
        7 => {
            let digits: Vec<usize> = (0..len).filter(|at| bytes[*at].is_ascii_digit()).collect();
            if !digits.is_empty() {
                bytes[*draws.pick(&digits)] = b'0' + draws.below(10) as u8;
            }
        }
        8 => {
            let range = draws.range(len, 12);
            bytes.splice(range, word(draws, key));
        }
        9 | 10 => mutate_lines(bytes, draws),
        _ => {
            bytes.splice(at..at, word(draws, key));
        }
    }
}

fn mutate_lines(bytes: &mut Vec<u8>, draws: &mut Draws) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (from, to) = (draws.below(lines.len()), draws.below(lines.len()));
    match draws.below(3) {
        0 => drop(lines.remove(from)),
        1 => lines.insert(to, lines[from]),
        _ => lines.swap(from, to),
    }
    *bytes = lines.concat();
}

/// Changes the last line-starting JSON of an output, if there is one that is whole.
fn mutate_json(bytes: &mut Vec<u8>, key: &str, draws: &mut Draws) {
    let is_start = |at: &usize| matches!(bytes[*at], b'{' | b'[') && (*at == 0 || bytes[*at - 1] == b'\n');
    let Some(start) = (0..bytes.len()).rev().find(is_start) else { return };
    let text = String::from_utf8_lossy(&bytes[start..]);
    let Ok(mut value) = text.trim().parse::<Value>() else { return };
    let mut nodes = 0;
    count(&value, &mut nodes);
    let mut wanted = draws.below(nodes);
    let donor = nth(&value, &mut draws.below(nodes)).cloned().unwrap_or_default();
    if let Some(node) = nth_mut(&mut value, &mut wanted) {
        mutate_node(node, donor, key, draws);
    }
    let text = if draws.is_one_in(3) { format!("{value:#}\n") } else { format!("{value}\n") };
    bytes.truncate(start);
    bytes.extend_from_slice(text.as_bytes());
}

fn count(value: &Value, nodes: &mut usize) {
    *nodes += 1;
    match value {
        Value::Array(items) => items.iter().for_each(|item| count(item, nodes)),
        Value::Object(fields) => fields.values().for_each(|item| count(item, nodes)),
        _ => {}
    }
}

fn nth<'v>(value: &'v Value, left: &mut usize) -> Option<&'v Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values().find_map(|item| nth(item, left)),
        _ => None,
    }
}

fn nth_mut<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth_mut(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|item| nth_mut(item, left)),
        _ => None,
    }
}

fn mutate_node(node: &mut Value, donor: Value, key: &str, draws: &mut Draws) {
    match (draws.below(7), &mut *node) {
        (0, Value::Object(fields)) if !fields.is_empty() => {
            // A field goes, or goes under another name.
            let name = fields.keys().nth(draws.below(fields.len())).cloned().unwrap_or_default();
            let taken = fields.remove(&name).unwrap_or_default();
            let names = ["status", "state", "taskId", "id", "content", "requirements", "Status", "jobs", "x"];
            if draws.is_one_in(2) {
                fields.insert((*draws.pick(&names)).to_owned(), taken);
            }
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let at = draws.below(items.len());
            match draws.below(3) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => items.reverse(),
            }
        }
        (2, Value::String(text)) => {
            let bytes = text.clone().into_bytes();
            let mut changed = bytes.clone();
            mutate_bytes(&mut changed, &bytes, key, draws);
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        // Almost the same word: what is shown of it may well be the word itself.
        (6, Value::String(text)) => {
            let at = if draws.is_one_in(2) { 0 } else { text.len() };
            let decoy: &&str = draws.pick(&DECOYS);
            text.insert_str(at, decoy);
        }
        (3, node) => *node = Value::Array(vec![node.take()]),
        (4, node) => *node = donor,
        (_, node) => *node = scalar(key, draws),
    }
}

fn scalar(key: &str, draws: &mut Draws) -> Value {
    match draws.below(8) {
        0 => Value::Null,
        1 => Value::Bool(draws.is_one_in(2)),
        2 => Value::from(draws.below(5)),
        3 => Value::from(-1.5e9),
        4 => Value::from(draws.next()),
        _ => Value::String(String::from_utf8_lossy(&word(draws, key)).into_owned()),
    }
}
