//! `/metrics`: the status in Prometheus's text format 0.0.4, and how long requests took.
//! Invariant: a family is written once, with its help and its type, all its samples together; units are base units.

mod families;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

use crate::status::Status;
use families::FAMILIES;

/// The content type of the text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the request histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How long requests took, by route and status.
#[derive(Default)]
pub(super) struct HttpMetrics(Mutex<BTreeMap<(String, u16), Histogram>>);

#[derive(Default)]
struct Histogram {
    /// Requests in each bucket, not cumulated; the last is above every bound.
    counts: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

impl HttpMetrics {
    /// Counts an answered request.
    pub(super) fn observe(&self, route: &str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut all = self.0.lock();
        let histogram = all.entry((route.to_owned(), status)).or_default();
        histogram.counts[BUCKETS.partition_point(|bound| *bound < seconds)] += 1;
        histogram.seconds += seconds;
    }
}

/// The whole text.
pub(super) fn text(status: &Status, http: &HttpMetrics) -> String {
    let mut text = Text::default();
    text.family("curiod_build_info", "gauge", "The version that runs; always 1.");
    text.sample("curiod_build_info", &[("version", &status.version)], 1.0);
    text.family("curiod_uptime_seconds", "gauge", "Time since the daemon started.");
    text.sample("curiod_uptime_seconds", &[], status.uptime_s);
    if let Some(bytes) = resident_bytes() {
        text.family("process_resident_memory_bytes", "gauge", "Resident memory.");
        text.sample("process_resident_memory_bytes", &[], bytes);
    }
    for family in FAMILIES {
        text.family(family.name, family.kind, family.help);
        for stream in &status.streams {
            for (label, value) in (family.samples)(stream) {
                let mut labels = vec![("stream", stream.name.as_str())];
                labels.extend(family.label.map(|name| (name, &*label)));
                text.sample(family.name, &labels, value);
            }
        }
    }
    requests(&mut text, http);
    text.0
}

fn requests(text: &mut Text, http: &HttpMetrics) {
    const NAME: &str = "curiod_http_request_duration_seconds";
    text.family(NAME, "histogram", "How long requests took, by route and status.");
    for ((route, status), histogram) in http.0.lock().iter() {
        let status = status.to_string();
        let labels = [("route", route.as_str()), ("status", status.as_str())];
        let mut count = 0;
        for (at, in_bucket) in histogram.counts.iter().enumerate() {
            count += in_bucket;
            let bound = BUCKETS.get(at).map_or("+Inf".to_owned(), f64::to_string);
            let with_bound = [labels[0], labels[1], ("le", bound.as_str())];
            text.sample(&format!("{NAME}_bucket"), &with_bound, count as f64);
        }
        text.sample(&format!("{NAME}_sum"), &labels, histogram.seconds);
        text.sample(&format!("{NAME}_count"), &labels, count as f64);
    }
}

/// Text in the making. Writing to a `String` can not fail, so its results are let go.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", number(value));
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// This process's resident memory; None where there is no `/proc`.
fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example;

    fn written() -> String {
        let http = HttpMetrics::default();
        http.observe("/api/v1/status", 200, Duration::from_millis(3));
        http.observe("/api/v1/status", 200, Duration::from_millis(300));
        http.observe("a \"route\" \\ with\nall", 404, Duration::from_secs(60));
        let status = Status {
            version: "1.2.3".to_owned(),
            uptime_s: 5.0,
            streams: vec![example("pictures"), example("other")],
        };
        text(&status, &http)
    }

    #[test]
    fn every_sample_follows_the_help_and_type_of_its_family_and_every_counter_is_a_total() {
        let text = written();
        let (mut family, mut kind, mut seen) = ("", "", std::collections::BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap();
                assert!(seen.insert(family), "{family} is written twice");
                assert!(rest.len() > family.len() + 1, "{family} has no help");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                kind = rest.strip_prefix(family).unwrap().trim();
                assert_eq!(kind == "counter", family.ends_with("_total"), "{family} is a {kind}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let ending = name.strip_prefix(family).unwrap();
                let endings: &[&str] = if kind == "histogram" {
                    &["_bucket", "_sum", "_count"]
                } else {
                    &[""]
                };
                assert!(endings.contains(&ending), "{line} is in the family {family}");
                assert!(
                    line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                    "{line} has no value"
                );
            }
        }
    }

    #[test]
    fn the_numbers_are_the_status() {
        let text = written();
        for line in [
            "curiod_build_info{version=\"1.2.3\"} 1",
            "curiod_sources_total{stream=\"pictures\",verdict=\"accepted\"} 12",
            "curiod_index_samples{stream=\"other\",state=\"covered\"} 11",
            "curiod_loss{stream=\"pictures\"} 3.25",
            "curiod_inbox_present{stream=\"pictures\",inbox=\"/in\"} 1",
            "curiod_checkpoint_failures_total{stream=\"pictures\"} 2",
            "curiod_failed_steps_total{stream=\"pictures\"} 3",
            "curiod_drift_alerts_total{stream=\"pictures\"} 1",
            "curiod_outliers_total{stream=\"other\"} 2",
            "curiod_scores_total{stream=\"pictures\"} 160",
            "curiod_progress_ratio{stream=\"pictures\"} 0.125",
            "curiod_ingest_paused_by{stream=\"other\",reason=\"disk\"} 0",
            "curiod_part_failed{stream=\"other\",part=\"learner\"} 0",
            "curiod_http_request_duration_seconds_bucket{route=\"/api/v1/status\",status=\"200\",le=\"0.005\"} 1",
            "curiod_http_request_duration_seconds_bucket{route=\"/api/v1/status\",status=\"200\",le=\"0.5\"} 2",
            "curiod_http_request_duration_seconds_count{route=\"a \\\"route\\\" \\\\ with\\nall\",status=\"404\"} 1",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
