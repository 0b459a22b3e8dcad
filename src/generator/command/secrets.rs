//! Secrets of a generator: read when a call needs them, given to it in its environment, taken out of what it writes.
//!
//! They must never reach an argument, a file of ours or a log; nothing here has `Debug` or `Display`. The surprise:
//! they are taken out of a call's output **before** it is interpreted, so that no excerpt can show half of one, and so in the
//! forms that texts have them in too: what stands escaped in JSON would be whole again once it is read. A value
//! as short as a word would tear holes into honest text, so short ones are taken out of error output only.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::call::CallResult;
use super::super::exec::Environment;
use crate::render::sha256_hex;

/// Stands where a secret stood.
const BLANK: &str = "[secret]";
/// From this length on a secret is taken out of standard output, which holds pieces and references.
const LONG_ENOUGH_FOR_OUTPUT: usize = 8;
/// From this length on it is taken out of standard error.
const LONG_ENOUGH_FOR_ERRORS: usize = 4;
/// As much as systemd lets a credential hold.
const MAX_SECRET: u64 = 1 << 20;

/// Where secrets are read from.
#[derive(Clone)]
pub(crate) struct SecretSource {
    /// `$CREDENTIALS_DIRECTORY`, if there is one.
    pub dir: Option<PathBuf>,
    /// Environment variables and the names of their credentials.
    pub names: BTreeMap<String, String>,
}

/// The values, for the length of one call.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(String, Vec<u8>)>);

/// Which secrets a run was given, kept beside it: so that a later look knows whether those that it can read are the same.
///
/// Digests under a salt of the run's own say nothing of a long secret, but a short one could be guessed by whoever reads
/// them. So they lie where only the daemon's user reads.
#[derive(Serialize, Deserialize)]
pub(crate) struct Given {
    salt: String,
    digests: BTreeSet<String>,
}

impl Given {
    fn digest(salt: &str, value: &[u8]) -> String {
        sha256_hex(&[salt.as_bytes(), value].concat())
    }
}

impl SecretSource {
    /// Reads all of them, or says which one is missing and how it is provided.
    pub fn read(&self) -> Result<Secrets, String> {
        let read = |(variable, credential): (&String, &String)| {
            self.read_one(variable, credential).map(|value| (variable.clone(), value))
        };
        self.names.iter().map(read).collect::<Result<_, _>>().map(Secrets)
    }

    /// What is wrong with each of them.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        self.names.iter().filter_map(|(variable, credential)| self.read_one(variable, credential).err())
    }

    /// Those that can be read, to be taken out of texts.
    pub fn read_available(&self) -> Secrets {
        let read = |(variable, credential): (&String, &String)| {
            self.read_one(variable, credential).ok().map(|value| (variable.clone(), value))
        };
        Secrets(self.names.iter().filter_map(read).collect())
    }

    fn read_one(&self, variable: &str, credential: &str) -> Result<Vec<u8>, String> {
        let about = format!("secrets.{variable} = {credential:?}");
        if !is_credential_name(credential) {
            return Err(format!("{about}: this is no credential's name: write it without a path"));
        }
        let Some(dir) = &self.dir else {
            return Err(format!(
                "{about}: there is no $CREDENTIALS_DIRECTORY: run under systemd with LoadCredential={credential}:PATH, \
                 or set it to a directory that holds the file"
            ));
        };
        let value = read_file(&dir.join(credential)).map_err(|error| {
            format!(
                "{about}: {} cannot be read ({error}): put it into /etc/credstore/contentd.{credential} and restart contentd; a name \
                 that the unit does not load needs LoadCredential={credential}:contentd.{credential} in a drop-in",
                dir.join(credential).display()
            )
        })?;
        match value.as_slice() {
            [] => Err(format!("{about}: the credential is empty: write the secret into it")),
            bytes if bytes.contains(&0) => {
                Err(format!("{about}: the credential holds a NUL byte, which no variable can: write it as text"))
            }
            _ => Ok(value),
        }
    }
}

/// Whether systemd could have a credential of this name.
pub fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    File::open(path)?.take(MAX_SECRET).read_to_end(&mut value)?;
    // Editors end files with a newline that nobody means.
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

impl Secrets {
    /// Gives them to a call.
    pub fn add_to(&self, env: &mut Environment) {
        for (variable, value) in &self.0 {
            env.set(variable.as_str(), OsString::from_vec(value.clone()));
        }
    }

    /// What is to be remembered of them.
    pub fn given(&self) -> Result<Given, String> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| format!("there is no randomness: {error}"))?;
        let salt = sha256_hex(&salt);
        let digests = self.0.iter().map(|(_, value)| Given::digest(&salt, value)).collect();
        Ok(Given { salt, digests })
    }

    /// Whether each of those that were given is among these.
    pub fn cover(&self, given: &Given) -> bool {
        let here: BTreeSet<String> = self.0.iter().map(|(_, value)| Given::digest(&given.salt, value)).collect();
        given.digests.is_subset(&here)
    }

    /// Takes them out of a text about a call.
    pub fn redact_text(&self, text: String) -> String {
        let mut result = CallResult { stderr: text.into_bytes(), ..CallResult::not_started("") };
        self.redact(&mut result);
        String::from_utf8_lossy(&result.stderr).into_owned()
    }

    /// The length of the longest that is taken out.
    pub fn longest(&self) -> usize {
        self.taken_out().iter().map(Vec::len).max().unwrap_or(0)
    }

    /// What a part of standard error says from `start` on, and where the next part must begin: before anything that could
    /// be the beginning of a secret or of a character.
    pub fn clean_part(&self, part: &[u8], start: usize) -> (String, usize) {
        let places = self.places(part);
        let cut = self.taken_out().iter().map(|value| beginning_at_end(part, value)).max().unwrap_or(0);
        let mut end = part.len() - cut;
        if let Some(split) = places.iter().find(|place| place.start < end && end < place.end) {
            end = split.start;
        }
        let (mut text, mut at) = (String::new(), start);
        for place in places.iter().filter(|place| place.end > start && place.end <= end) {
            text.push_str(&String::from_utf8_lossy(&part[at..place.start.max(at)]));
            text.push_str(BLANK);
            at = place.end;
        }
        let rest = part.get(at..end).unwrap_or_default();
        let torn = rest.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
        let is_torn = std::str::from_utf8(torn).is_err_and(|error| error.error_len().is_none());
        let whole = rest.len() - if is_torn { torn.len() } else { 0 };
        text.push_str(&String::from_utf8_lossy(&rest[..whole]));
        (text, end - (rest.len() - whole))
    }

    /// Where secrets stand. Those that overlap are one place.
    fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for value in self.taken_out() {
            let mut from = 0;
            while let Some(at) = find(&text[from..], &value) {
                found.push(from + at..from + at + value.len());
                from += at + 1;
            }
        }
        found.sort_by_key(|place| place.start);
        let mut places: Vec<Range<usize>> = Vec::new();
        for place in found {
            match places.last_mut() {
                Some(last) if place.start < last.end => last.end = last.end.max(place.end),
                Some(_) | None => places.push(place),
            }
        }
        places
    }

    /// Those that are taken out of standard error, in every form.
    fn taken_out(&self) -> Vec<Vec<u8>> {
        let forms = self.0.iter().flat_map(|(_, value)| forms(value));
        forms.filter(|value| value.len() >= LONG_ENOUGH_FOR_ERRORS).collect()
    }

    #[cfg(test)]
    pub fn of(values: &[&str]) -> Self {
        Self(values.iter().map(|value| (String::new(), value.as_bytes().to_vec())).collect())
    }

    /// Takes them out of what a call wrote.
    pub fn redact(&self, result: &mut CallResult) {
        // The longest first: one secret may hold another.
        let mut values: Vec<Vec<u8>> = self.0.iter().flat_map(|(_, value)| forms(value)).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for (text, long_enough) in
            [(&mut result.stdout, LONG_ENOUGH_FOR_OUTPUT), (&mut result.stderr, LONG_ENOUGH_FOR_ERRORS)]
        {
            let values = || values.iter().filter(|value| value.len() >= long_enough);
            values().for_each(|value| replace(text, value));
            // After that: a whole one could end in what it begins with.
            if result.is_truncated {
                values().for_each(|value| cut_beginning(text, value));
            }
        }
    }
}

/// A secret as it is, and as it stands in JSON and in addresses. Encodings that change every letter (base64, a digest) are
/// not known here.
fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([value.to_vec()]);
    let percent = |is_plain: fn(u8) -> bool| -> Vec<u8> {
        let encoded = |byte: &u8| if is_plain(*byte) { vec![*byte] } else { format!("%{byte:02X}").into_bytes() };
        value.iter().flat_map(encoded).collect()
    };
    // As a part of an address, and as JavaScript's encodeURIComponent has it.
    forms.insert(percent(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
    forms.insert(percent(|byte| byte.is_ascii_alphanumeric() || b"-._~!'()*".contains(&byte)));
    let Ok(text) = std::str::from_utf8(value) else { return forms };
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let Some(json) = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return forms };
    // Many writers leave nothing but ASCII, and some escape a slash.
    let mut units = [0; 2];
    let ascii: String = json.chars().fold(String::new(), |mut text, char| {
        if char.is_ascii() {
            text.push(char);
        } else {
            char.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
        text
    });
    for form in [json, &ascii] {
        forms.insert(form.as_bytes().to_vec());
        forms.insert(form.replace('/', "\\/").into_bytes());
    }
    forms
}

/// Where the end of a text was cut off, the beginning of a secret may be left of one that stood there. That is cut too.
fn cut_beginning(text: &mut Vec<u8>, value: &[u8]) {
    text.truncate(text.len() - beginning_at_end(text, value));
}

/// How much of the end of a text could be the beginning of a secret.
fn beginning_at_end(text: &[u8], value: &[u8]) -> usize {
    let longest = (value.len() - 1).min(text.len());
    (1..=longest).rev().find(|length| text.ends_with(&value[..*length])).unwrap_or(0)
}

fn replace(text: &mut Vec<u8>, value: &[u8]) {
    let Some(first) = find(text, value) else { return };
    let mut clean = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some(at) = find(rest, value) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(BLANK.as_bytes());
        rest = &rest[at + value.len()..];
    }
    clean.extend_from_slice(rest);
    *text = clean;
}

/// Where `value`, which is not empty, first stands in `text`.
fn find(text: &[u8], value: &[u8]) -> Option<usize> {
    let (first, tail) = value.split_first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| byte == first) {
        let start = from + at;
        if text[start + 1..].starts_with(tail) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::super::call::CallEnd;
    use super::*;

    fn source(dir: Option<&Path>, names: &[(&str, &str)]) -> SecretSource {
        let names = names.iter().map(|(variable, name)| ((*variable).to_owned(), (*name).to_owned())).collect();
        SecretSource { dir: dir.map(Path::to_owned), names }
    }

    #[test]
    fn a_missing_secret_says_which_and_how() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("empty"), "\n").expect("written");
        let faults = |dir, names: &[(&str, &str)]| source(dir, names).faults().collect::<Vec<_>>().join("\n");
        assert!(faults(None, &[("KEY", "key")]).contains("LoadCredential=key:PATH"));
        assert!(faults(Some(dir.path()), &[("KEY", "key")]).starts_with("secrets.KEY = \"key\": "));
        assert!(faults(Some(dir.path()), &[("KEY", "empty")]).contains("is empty"));
        assert!(faults(Some(dir.path()), &[("KEY", "../etc/passwd")]).contains("without a path"));
    }

    #[test]
    fn what_a_run_was_given_is_known_again_and_says_nothing() {
        let given = Secrets::of(&["sk-first", "sk-second"]).given().expect("randomness");
        let again = Secrets::of(&["sk-first", "sk-second"]).given().expect("randomness");
        assert!(given.digests.is_disjoint(&again.digests), "each run has a salt of its own");
        let text = serde_json::to_string(&given).expect("JSON");
        assert!(!text.contains("sk-"), "{text}");
        let given: Given = serde_json::from_str(&text).expect("read again");
        assert!(Secrets::of(&["sk-new", "sk-second", "sk-first"]).cover(&given), "in any order, and beside new ones");
        assert!(!Secrets::of(&["sk-first", "sk-changed"]).cover(&given));
        assert!(!Secrets::default().cover(&given));
        assert!(Secrets::default().cover(&Secrets::default().given().expect("randomness")));
    }

    #[test]
    fn values_lose_one_newline_and_leave_no_trace() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("long"), "sk-12345678\n\n").expect("written");
        std::fs::write(dir.path().join("short"), "none").expect("written");
        let Ok(secrets) = source(Some(dir.path()), &[("A", "long"), ("B", "short")]).read() else { panic!("not read") };
        assert_eq!(secrets.0[0].1, b"sk-12345678\n");
        let mut cut = CallResult { is_truncated: true, ..CallResult::not_started("") };
        cut.stderr = b"key sk-12345678\n\n and sk-1234".to_vec();
        secrets.redact(&mut cut);
        assert_eq!(String::from_utf8_lossy(&cut.stderr), "key [secret]\n and ", "half a secret at a cut is one");
        let text = b"none of ssk-12345678\nsk-12345678\n it".to_vec();
        let mut result =
            CallResult { end: CallEnd::Exited(0), stdout: text.clone(), stderr: text, is_truncated: false };
        secrets.redact(&mut result);
        assert_eq!(String::from_utf8_lossy(&result.stdout), "none of s[secret][secret] it");
        assert_eq!(String::from_utf8_lossy(&result.stderr), "[secret] of s[secret][secret] it");
    }

    #[test]
    fn a_secret_is_known_in_the_forms_that_texts_have_it_in() {
        let secret = "sl/sh \"quoted\" b\\ck ключ 😀";
        let secrets = Secrets(vec![("K".to_owned(), secret.as_bytes().to_vec())]);
        let json = serde_json::json!({ "error": secret }).to_string();
        let ascii = r#"{"error":"sl/sh \"quoted\" b\\ck \u043a\u043b\u044e\u0447 \ud83d\ude00"}"#;
        assert_eq!(serde_json::from_str::<serde_json::Value>(ascii).expect("JSON")["error"], secret);
        let url = "?key=sl%2Fsh%20%22quoted%22%20b%5Cck%20%D0%BA%D0%BB%D1%8E%D1%87%20%F0%9F%98%80&x";
        for (text, clean) in [
            (json.as_str(), r#"{"error":"[secret]"}"#),
            (ascii, r#"{"error":"[secret]"}"#),
            (&ascii.replace('/', "\\/"), r#"{"error":"[secret]"}"#),
            (url, "?key=[secret]&x"),
        ] {
            let mut result = CallResult { stdout: text.as_bytes().to_vec(), ..CallResult::not_started("") };
            result.stderr = result.stdout.clone();
            secrets.redact(&mut result);
            assert_eq!(String::from_utf8_lossy(&result.stdout), clean);
            assert_eq!(String::from_utf8_lossy(&result.stderr), clean);
        }
    }
}
