//! The plot: each row's ratio to its bound as a bar with its spread, so that rows of all units stand on one axis.
//!
//! Right of the line is better than promised, left of it is missed. The axis is logarithmic.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::outcome::{Bound, Outcome, extremes, median};

const LABELS: f64 = 420.0;
const WIDTH: f64 = 520.0;
const STEP: f64 = 26.0;
const TOP: f64 = 70.0;
/// The axis goes from a tenth of what is promised to ten times it.
const DECADES: f64 = 1.0;

/// By how much a number is better than what is promised; 1 is the bound itself.
fn gain(bound: Bound, judged: f64) -> Option<f64> {
    match bound {
        Bound::AtLeast(least) => Some(judged / least),
        Bound::AtMost(most) | Bound::AtMostItself(most) => Some(most / judged),
        Bound::None => None,
    }
}

fn x(gain: f64) -> f64 {
    let share = (gain.max(1e-9).log10() / DECADES).clamp(-1.0, 1.0);
    LABELS + WIDTH / 2.0 * (1.0 + share)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The plot as a file of its own.
pub fn svg(machine: &Machine, outcomes: &[Outcome]) -> String {
    let rows: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.bound != Bound::None).collect();
    let height = TOP + STEP * rows.len() as f64 + 40.0;
    let whole = LABELS + WIDTH + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"{height}\" viewBox=\"0 0 {whole} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">contentd against its bounds (1 is the bound, right is better)</text>\n"
    );
    for (line, text) in machine.lines().iter().take(2).enumerate() {
        let y = 38 + 14 * line;
        let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\" font-size=\"10\" fill=\"#555\">{}</text>", escaped(text));
    }
    axis(&mut svg, height);
    for (place, outcome) in rows.iter().enumerate() {
        bar(&mut svg, TOP + STEP * place as f64 + 8.0, outcome);
    }
    svg + "</svg>\n"
}

fn axis(svg: &mut String, height: f64) {
    for tick in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let (at, bottom) = (x(tick), height - 28.0);
        let color = if (tick - 1.0).abs() < 1e-9 { "#000" } else { "#ddd" };
        let _ = writeln!(svg, "<line x1=\"{at}\" y1=\"{TOP}\" x2=\"{at}\" y2=\"{bottom}\" stroke=\"{color}\"/>");
        let y = height - 12.0;
        let _ = writeln!(svg, "<text x=\"{at}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555\">{tick}</text>");
    }
}

fn bar(svg: &mut String, y: f64, outcome: &Outcome) {
    let judged = outcome.judged();
    let (least, most) = extremes(&judged);
    let gains = [median(&judged), least, most].map(|value| gain(outcome.bound, value).unwrap_or(1.0));
    let (from, to) = (x(gains[0]).min(x(1.0)), x(gains[0]).max(x(1.0)));
    let color = if gains[0] >= 1.0 { "#4a9c5d" } else { "#c8553d" };
    let peer = outcome.peer.as_ref().map(|peer| format!(", beside {peer}")).unwrap_or_default();
    let label = escaped(&format!("{}{peer} ({})", outcome.row, outcome.bound_text()));
    let middle = y + 7.0;
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>", LABELS - 10.0, y + 11.0);
    let width = (to - from).max(1.0);
    let _ = writeln!(svg, "<rect x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"14\" fill=\"{color}\"/>");
    let (first, last) = (x(gains[1]), x(gains[2]));
    let _ = writeln!(
        svg,
        "<line x1=\"{first}\" y1=\"{middle}\" x2=\"{last}\" y2=\"{middle}\" stroke=\"#222\" stroke-width=\"2\"/>"
    );
}
