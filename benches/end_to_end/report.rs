//! The tables, for people and for programs: one beside floors, one beside other programs.

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::outcome::{Outcome, median, shown};

/// The tables in Markdown, below where and when it was measured.
pub fn markdown(machine: &Machine, outcomes: &[Outcome]) -> String {
    let (beside_peers, beside_floors): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.peer.is_some());
    let mut text = machine.lines().join("  \n");
    if !beside_floors.is_empty() {
        text += "\n\n| row | contentd | floor | ratio: median (min–max) | bound | |\n| --- | --- | --- | --- | --- | --- |\n";
        beside_floors.iter().for_each(|outcome| text += &row(outcome));
    }
    if !beside_peers.is_empty() {
        text += "\n\n| row | contentd | another program | ratio: median (min–max) | bound | |\n\
                 | --- | --- | --- | --- | --- | --- |\n";
        beside_peers.iter().for_each(|outcome| text += &row(outcome));
    }
    text
}

fn row(outcome: &Outcome) -> String {
    let sign = outcome.unit.sign();
    let peer = outcome.peer.as_ref().map(|peer| format!("{peer}: ")).unwrap_or_default();
    let floor = match outcome.floor.is_empty() {
        true => "–".to_owned(),
        false => format!("{peer}{} {sign}", shown(median(&outcome.floor))),
    };
    let reached = outcome.is_reached().map_or("", |is_reached| if is_reached { "reached" } else { "**missed**" });
    let note = outcome.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    let (ours, judged) = (shown(median(&outcome.ours)), outcome.judged_text());
    let (name, bound) = (&outcome.row, outcome.bound_text());
    format!("| {name}{note} | {ours} {sign} | {floor} | {judged} | {bound} | {reached} |\n")
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
