//! The text format of Prometheus, version 0.0.4: a page of families, each with its help, its type and its samples.
//!
//! It writes what it is given and knows no name. The crates for this bring registries that own the values; here most of them
//! come from the database at the moment of asking, so that a hundred lines of text are all that is needed.
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write as _;

use super::Histogram;

/// Names of labels with their values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written.
#[derive(Default, Debug)]
pub struct Page {
    text: String,
}

impl Page {
    /// A counter: what only rises, and begins anew with a start. Its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    /// A gauge: how it is now.
    pub fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    /// A histogram.
    pub fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, "histogram")
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) -> Family<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name: name.to_owned() }
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: String,
}

impl Family<'_> {
    /// Writes a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        let name = self.name.clone();
        self.line(&name, labels, value);
        self
    }

    /// Writes a count.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus keeps every number as a float")]
    pub fn count(&mut self, labels: Labels<'_>, value: u64) -> &mut Self {
        self.sample(labels, value as f64)
    }

    /// Writes the samples of one histogram.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus keeps every number as a float")]
    pub fn distribution(&mut self, labels: Labels<'_>, histogram: &Histogram) -> &mut Self {
        let bucket = format!("{}_bucket", self.name);
        let bounded = |bound: &str| [labels, &[("le", bound)]].concat().iter().map(owned).collect::<Vec<_>>();
        let buckets = histogram.cumulative().map(|(bound, count)| (number(bound), count));
        for (bound, count) in buckets.chain([("+Inf".to_owned(), histogram.count())]) {
            let labels = bounded(&bound);
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            self.line(&bucket, &labels, count as f64);
        }
        let (sum, count) = (format!("{}_sum", self.name), format!("{}_count", self.name));
        self.line(&sum, labels, histogram.sum());
        self.line(&count, labels, histogram.count() as f64);
        self
    }

    fn line(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        let text = &mut self.page.text;
        text.push_str(name);
        if !labels.is_empty() {
            let pairs: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let _ = write!(text, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(text, " {}", number(value));
    }
}

fn owned((name, value): &(&str, &str)) -> (String, String) {
    ((*name).to_owned(), (*value).to_owned())
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value == f64::INFINITY => "+Inf".to_owned(),
        value if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.gauge("a_tasks", "Tasks,\nby \\state.")
            .count(&[("state", "held")], 3)
            .sample(&[("state", "x\"\\\n")], 0.5);
        let mut histogram = Histogram::new(&[0.5, 10.0]);
        [0.1, 0.5, 11.0].iter().for_each(|value| histogram.observe(*value));
        page.histogram("a_seconds", "Seconds.").distribution(&[("generator", "g")], &histogram);
        page.counter("a_total", "None yet.");
        let right = "# HELP a_tasks Tasks,\\nby \\\\state.\n# TYPE a_tasks gauge\n\
                     a_tasks{state=\"held\"} 3\na_tasks{state=\"x\\\"\\\\\\n\"} 0.5\n\
                     # HELP a_seconds Seconds.\n# TYPE a_seconds histogram\n\
                     a_seconds_bucket{generator=\"g\",le=\"0.5\"} 2\na_seconds_bucket{generator=\"g\",le=\"10\"} 2\n\
                     a_seconds_bucket{generator=\"g\",le=\"+Inf\"} 3\na_seconds_sum{generator=\"g\"} 11.6\n\
                     a_seconds_count{generator=\"g\"} 3\n# HELP a_total None yet.\n# TYPE a_total counter\n";
        assert_eq!(page.into_text(), right);
    }
}
