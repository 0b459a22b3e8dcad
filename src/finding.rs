//! What a look at the installation finds: one line of `contentctl doctor`.
//!
//! Plain data that every layer may make. It decides nothing: whoever looks says how bad it is. The surprise: the cure is a
//! field of its own, because a finding without one is only half of an answer.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and deserves a look.
    Warning,
    /// Something does not work until a person acts.
    Error,
}

impl Severity {
    /// As it is written in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What would make it right: a command to type where there is one. None where all is well.
    pub cure: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, subject: subject.into(), found: found.into(), cure: None }
    }

    /// It works, and deserves a look.
    pub fn warning(subject: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, subject: subject.into(), found: found.into(), cure: Some(cure.into()) }
    }

    /// It does not work.
    pub fn error(subject: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Error, subject: subject.into(), found: found.into(), cure: Some(cure.into()) }
    }

    /// On one line, cure and all.
    pub fn as_line(&self) -> String {
        let cure = self.cure.as_ref().map(|cure| format!(": {cure}")).unwrap_or_default();
        format!("{}: {}{cure}", self.subject, self.found)
    }

    /// Of a message in the house's form, `what is wrong: what would be right`.
    pub fn of_fault(subject: impl Into<String>, fault: &str) -> Self {
        match fault.rsplit_once(": ") {
            Some((found, cure)) => Self::error(subject, found, cure),
            None => Self::error(subject, fault, "mend it, then `contentctl doctor` looks again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_split_into_what_is_and_what_would_be_right() {
        let fault =
            "secrets.KEY = \"key\": /c/key cannot be read (No such file): add LoadCredential=key:PATH to the unit";
        let finding = Finding::of_fault("generator g", fault);
        assert_eq!(finding.found, "secrets.KEY = \"key\": /c/key cannot be read (No such file)");
        assert_eq!(finding.cure.as_deref(), Some("add LoadCredential=key:PATH to the unit"));
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Ok);
    }
}
