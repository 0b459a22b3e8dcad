//! The table, for people and for programs.

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::outcome::{Outcome, median, shown};

/// The table in Markdown, below where and when it was measured.
pub fn markdown(machine: &Machine, outcomes: &[Outcome]) -> String {
    let mut text = machine.lines().join("  \n");
    text +=
        "\n\n| row | contentd | floor | ratio: median (min–max) | bound | |\n| --- | --- | --- | --- | --- | --- |\n";
    for outcome in outcomes {
        let sign = outcome.unit.sign();
        let floor = match outcome.floor.is_empty() {
            true => "–".to_owned(),
            false => format!("{} {sign}", shown(median(&outcome.floor))),
        };
        let reached = outcome.is_reached().map_or("", |is_reached| if is_reached { "reached" } else { "**missed**" });
        let note = outcome.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let (ours, judged) = (shown(median(&outcome.ours)), outcome.judged_text());
        text += &format!(
            "| {}{note} | {ours} {sign} | {floor} | {judged} | {} | {reached} |\n",
            outcome.row,
            outcome.bound_text()
        );
    }
    text
}

/// Everything that was measured.
pub fn json(machine: &Machine, outcomes: &[Outcome]) -> Value {
    let row = |outcome: &Outcome| {
        let mut row = json!(outcome);
        row["judged"] = json!(outcome.judged());
        row["median"] = json!(median(&outcome.judged()));
        row["is_reached"] = json!(outcome.is_reached());
        row
    };
    json!({ "machine": machine, "rows": outcomes.iter().map(row).collect::<Vec<_>>() })
}
