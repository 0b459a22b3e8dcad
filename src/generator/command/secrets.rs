//! Secrets of a generator: read when a call needs them, given to it in its environment, taken out of what it writes.
//!
//! They must never reach an argument, a file of ours or a log; nothing here has `Debug` or `Display`. The surprise:
//! they are taken out of a call's output **before** it is interpreted, so that no excerpt can show half of one. A value
//! as short as a word would tear holes into honest text, so short ones are taken out of error output only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::super::call::CallResult;
use super::super::exec::Environment;

/// Stands where a secret stood.
const BLANK: &[u8] = b"[secret]";
/// From this length on a secret is taken out of standard output, which holds pieces and references.
const LONG_ENOUGH_FOR_OUTPUT: usize = 8;
/// From this length on it is taken out of standard error.
const LONG_ENOUGH_FOR_ERRORS: usize = 4;
/// As much as systemd lets a credential hold.
const MAX_SECRET: u64 = 1 << 20;

/// Where secrets are read from.
#[derive(Clone)]
pub(super) struct SecretSource {
    /// `$CREDENTIALS_DIRECTORY`, if there is one.
    pub dir: Option<PathBuf>,
    /// Environment variables and the names of their credentials.
    pub names: BTreeMap<String, String>,
}

/// The values, for the length of one call.
#[derive(Default)]
pub(super) struct Secrets(Vec<(String, Vec<u8>)>);

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

    /// Takes them out of what a call wrote.
    pub fn redact(&self, result: &mut CallResult) {
        // The longest first: one secret may hold another.
        let mut values: Vec<&[u8]> = self.0.iter().map(|(_, value)| value.as_slice()).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in &values {
            if value.len() >= LONG_ENOUGH_FOR_OUTPUT {
                replace(&mut result.stdout, value);
            }
            if value.len() >= LONG_ENOUGH_FOR_ERRORS {
                replace(&mut result.stderr, value);
            }
        }
        // After that: a whole one could end in what it begins with.
        if result.is_truncated {
            values.iter().for_each(|value| cut_beginning(&mut result.stderr, value));
        }
    }
}

/// Where the end of a text was cut off, the beginning of a secret may be left of one that stood there. That is cut too.
fn cut_beginning(text: &mut Vec<u8>, value: &[u8]) {
    if value.len() < LONG_ENOUGH_FOR_ERRORS {
        return;
    }
    let longest = (value.len() - 1).min(text.len());
    if let Some(length) = (1..=longest).rev().find(|length| text.ends_with(&value[..*length])) {
        text.truncate(text.len() - length);
    }
}

fn replace(text: &mut Vec<u8>, value: &[u8]) {
    let Some(first) = find(text, value) else { return };
    let mut clean = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some(at) = find(rest, value) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(BLANK);
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
}
