//! What was measured of a row: runs of contentd, runs of its floor, and what is promised of them.

use serde::Serialize;

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Unit {
    /// More is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Less is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Less is better.
    #[serde(rename = "MB")]
    Megabytes,
    /// Less is better.
    #[serde(rename = "bytes")]
    Bytes,
    /// Less is better.
    #[serde(rename = "calls")]
    Calls,
    /// Less is better.
    #[serde(rename = "%")]
    Percent,
}

impl Unit {
    /// As it is written behind a number.
    pub fn sign(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
            Self::Bytes => "B",
            Self::Calls => "calls",
            Self::Percent => "%",
        }
    }
}

/// What is promised.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// At least so much of the floor.
    AtLeast(f64),
    /// At most so many times the floor.
    AtMost(f64),
    /// At most so much, whatever any floor is.
    AtMostItself(f64),
    /// It is only told.
    None,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which.
    pub row: String,
    /// What the numbers count.
    pub unit: Unit,
    /// What contentd did, run by run.
    pub ours: Vec<f64>,
    /// What the floor did in the same runs, or another program; empty where there is none.
    pub floor: Vec<f64>,
    /// The other program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What is promised.
    pub bound: Bound,
    /// What else must be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Outcome {
    /// A row without any run yet.
    pub fn of(row: impl Into<String>, unit: Unit, bound: Bound) -> Self {
        Self { row: row.into(), unit, ours: Vec::new(), floor: Vec::new(), peer: None, bound, note: None }
    }

    /// The same with a remark.
    #[must_use]
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// The same beside another program instead of a floor.
    #[must_use]
    pub fn beside(self, peer: impl Into<String>) -> Self {
        Self { peer: Some(peer.into()), ..self }
    }

    /// A run of contentd and the floor beside it.
    pub fn push(&mut self, ours: f64, floor: f64) {
        self.ours.push(ours);
        self.floor.push(floor);
    }

    /// What the bound is about: each run's ratio to its floor, or the numbers themselves.
    pub fn judged(&self) -> Vec<f64> {
        match self.floor.is_empty() {
            true => self.ours.clone(),
            false => self.ours.iter().zip(&self.floor).map(|(ours, floor)| ours / floor).collect(),
        }
    }

    /// Whether the median keeps what is promised; none where nothing is.
    pub fn is_reached(&self) -> Option<bool> {
        let median = median(&self.judged());
        match self.bound {
            Bound::AtLeast(least) => Some(median >= least),
            Bound::AtMost(most) | Bound::AtMostItself(most) => Some(median <= most),
            Bound::None => None,
        }
    }

    /// The bound in words.
    pub fn bound_text(&self) -> String {
        match self.bound {
            Bound::AtLeast(least) => format!("≥ {least} ×"),
            Bound::AtMost(most) => format!("≤ {most} ×"),
            Bound::AtMostItself(most) => format!("≤ {most} {}", self.unit.sign()),
            Bound::None => "–".to_owned(),
        }
    }

    /// Median, minimum and maximum of what the bound is about.
    pub fn judged_text(&self) -> String {
        let judged = self.judged();
        let (least, most) = extremes(&judged);
        if self.floor.is_empty() {
            return format!("({}–{})", shown(least), shown(most));
        }
        format!("{:.2} × ({least:.2}–{most:.2})", median(&judged))
    }

    /// In one line, while others are still measured.
    pub fn line(&self) -> String {
        let floor = match self.floor.is_empty() {
            true => String::new(),
            false => {
                let floor = self.peer.as_deref().unwrap_or("floor");
                format!(", {floor} {} {}", shown(median(&self.floor)), self.unit.sign())
            }
        };
        let reached = self.is_reached().map_or("", |is_reached| if is_reached { ", reached" } else { ", MISSED" });
        let (ours, sign) = (shown(median(&self.ours)), self.unit.sign());
        format!("  {}: {ours} {sign}{floor}: {} {}{reached}", self.row, self.judged_text(), self.bound_text())
    }
}

/// The middle one, or the mean of the two middle ones; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The value below which `share` (0 to 1) of all lie.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a short list")]
    let index = (last as f64 * share).ceil() as usize;
    sorted.get(index.min(last)).copied().unwrap_or(0.0)
}

/// The least and the most.
pub fn extremes(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A number with three digits that mean something.
pub fn shown(value: f64) -> String {
    match value.abs() {
        big if big >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
