//! What is asked of each step of a file, over time: `curiod novelty --series`, and `curiod curiosity`.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{print, print_json, table};
use super::query::{ModelArg, read};
use super::{Connection, Format};
use crate::clock::Timestamp;
use crate::plot::{self, Axis, Line, Marks, Panel, Unit};
use crate::sample::transition::{self, TransitionLimits};
use crate::sample::{Action, Transition};

/// Transitions of one request.
const REQUEST_TRANSITIONS: usize = 256;

/// Decades of evidence from which an alarm is marked in a plot: what the standard profile of the Numenta Anomaly Benchmark likes best.
const MARKED: f64 = 9.0;

/// Where what is said of each step goes.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Out {
    /// Write a line for each step to this file
    #[arg(long, value_name = "OUT.csv")]
    csv: Option<PathBuf>,
    /// Draw it over time
    #[arg(long, value_name = "OUT.svg")]
    plot: Option<PathBuf>,
}

impl Out {
    /// Whether it goes to a file.
    pub(super) fn is_given(&self) -> bool {
        self.csv.is_some() || self.plot.is_some()
    }
}

/// The flags of `curiod curiosity`.
#[derive(Args, Clone, Debug)]
pub struct CuriosityArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    model: ModelArg,
    /// A file of transitions
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    out: Out,
}

/// `curiod novelty --series`.
pub(super) fn series(
    connection: &Connection,
    format: Format,
    model: &ModelArg,
    file: &Path,
    out: &Out,
) -> Result<(), Failure> {
    let mut asked = model.asked();
    asked.insert("file".to_owned(), json!(STANDARD.encode(read(file)?)));
    let answer = connection
        .client()?
        .post("/api/v1/novelty/series", &Value::Object(asked))?;
    let steps = answer["steps"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(path) = &out.csv {
        write(path, &series_csv(steps))?;
    }
    if let Some(path) = &out.plot {
        write(path, &series_plot(file, steps)?)?;
    }
    if format.json {
        return print_json(&answer);
    }
    let mut newest: Vec<&Value> = steps.iter().collect();
    newest.sort_by(|a, b| float(&b["evidence"]).total_cmp(&float(&a["evidence"])));
    let rows: Vec<_> = newest
        .iter()
        .take(10)
        .map(|step| {
            [
                step["at"].to_string(),
                moment(step),
                number(&step["novelty"]),
                number(&step["evidence"]),
            ]
        })
        .collect();
    print(&format!(
        "{} steps; the most novel ones\n{}",
        steps.len(),
        table([">step", "time", ">novelty", ">evidence"], &rows)
    ))
}

/// `curiod curiosity`.
pub fn curiosity(args: &CuriosityArgs) -> Result<(), Failure> {
    let bytes = read(&args.file)?;
    let limits = TransitionLimits {
        state_dims_max: usize::from(u16::MAX),
        actions_max: usize::from(u16::MAX),
        ..TransitionLimits::default()
    };
    let cut = transition::cut(&args.file, &bytes, &limits).map_err(|rejection| {
        Failure::new(
            Failure::FAILED,
            format!("{} holds no transitions: {rejection}", args.file.display()),
        )
    })?;
    for fault in cut.faults.iter().take(5) {
        eprintln!("passed over row {}: {}", fault.at, fault.detail);
    }
    let client = args.connection.client()?;
    let mut results: Vec<Value> = Vec::with_capacity(cut.transitions.len());
    for part in cut.transitions.chunks(REQUEST_TRANSITIONS) {
        let mut asked = args.model.asked();
        asked.insert("transitions".to_owned(), part.iter().map(said).collect());
        let mut answer = client.post("/api/v1/novelty", &Value::Object(asked))?;
        if let Value::Array(part) = answer["results"].take() {
            results.extend(part);
        }
    }
    if let Some(path) = &args.out.csv {
        write(path, &curiosity_csv(&cut.transitions, &results))?;
    }
    if let Some(path) = &args.out.plot {
        write(path, &curiosity_plot(&args.file, &cut.transitions, &results)?)?;
    }
    if args.format.json {
        return print_json(&json!({ "results": results }));
    }
    let tenth = results.len().div_ceil(10).max(1);
    let rows: Vec<_> = results
        .chunks(tenth)
        .enumerate()
        .map(|(part, results)| {
            let mean = |key: &str| {
                let sum: f64 = results.iter().map(|result| float(&result[key])).sum();
                format!("{:.4}", sum / results.len() as f64)
            };
            let first = part * tenth;
            [format!("{first}"), mean("reward"), mean("error"), mean("novelty")]
        })
        .collect();
    print(&format!(
        "{} transitions; means from each on\n{}",
        results.len(),
        table([">from", ">reward", ">error", ">novelty"], &rows)
    ))
}

/// A transition as a request says it.
fn said(transition: &Transition) -> Value {
    let action = match &transition.action {
        Action::Discrete(choice) => json!(choice),
        Action::Real(numbers) => json!(numbers),
    };
    json!({ "state": transition.state, "action": action, "next_state": transition.next_state })
}

fn series_csv(steps: &[Value]) -> String {
    let variables = steps.first().map_or(0, |step| list(&step["values"]).len());
    let columns = |name: &str| (0..variables).map(|at| format!(",{name}_{at}")).collect::<String>();
    let mut csv = format!(
        "step,time{}{},error,novelty,evidence,alarm\n",
        columns("value"),
        columns("expected")
    );
    for step in steps {
        csv += &format!("{},{}", step["at"], moment(step));
        for value in list(&step["values"]).iter().chain(list(&step["expected"])) {
            csv += &format!(",{}", cell(value));
        }
        csv += &format!(
            ",{},{},{},{}\n",
            cell(&step["error"]),
            cell(&step["novelty"]),
            cell(&step["evidence"]),
            cell(&step["alarm"])
        );
    }
    csv
}

fn curiosity_csv(transitions: &[Transition], results: &[Value]) -> String {
    let mut csv = "episode,t,reward,error,novelty\n".to_owned();
    for (transition, result) in transitions.iter().zip(results) {
        csv += &format!(
            "{},{},{},{},{}\n",
            transition.episode,
            transition.t,
            cell(&result["reward"]),
            cell(&result["error"]),
            cell(&result["novelty"])
        );
    }
    csv
}

fn series_plot(file: &Path, steps: &[Value]) -> Result<String, Failure> {
    let has_times = !steps.is_empty() && steps.iter().all(|step| step["time"].is_i64());
    let place = |step: &Value| float(if has_times { &step["time"] } else { &step["at"] });
    let points = |of: &dyn Fn(&Value) -> f64| steps.iter().map(|step| (place(step), of(step))).collect();
    let variables = steps.first().map_or(0, |step| list(&step["values"]).len()).min(8);
    let names: Vec<String> = (0..variables).map(|at| format!("variable {at}")).collect();
    let values = names.iter().enumerate().map(|(at, name)| Line {
        name,
        points: points(&|step| float(&step["values"][at])),
    });
    let marked = steps.iter().filter(|step| float(&step["alarm"]) >= MARKED);
    let panels = [
        Panel {
            y: axis("value", Unit::Number),
            lines: values.collect(),
            marks: Some(Marks {
                name: "alarm",
                at: marked.map(place).collect(),
            }),
        },
        Panel {
            y: axis("evidence (decades of chance)", Unit::Number),
            lines: vec![Line {
                name: "evidence",
                points: points(&|step| float(&step["evidence"])),
            }],
            marks: None,
        },
    ];
    let x = match has_times {
        true => axis("time (UTC)", Unit::Time),
        false => axis("step", Unit::Number),
    };
    drawn(&format!("Novelty of {}", file.display()), x, &panels)
}

fn curiosity_plot(file: &Path, transitions: &[Transition], results: &[Value]) -> Result<String, Failure> {
    let points = |key: &str| {
        let all = results.iter().enumerate();
        all.map(|(at, result)| (at as f64, float(&result[key]))).collect()
    };
    let starts = transitions
        .windows(2)
        .zip(1..)
        .filter(|(pair, _)| pair[0].episode != pair[1].episode);
    let episodes: Vec<f64> = starts.map(|(_, at)| f64::from(at)).collect();
    let panel = |name: &'static str| Panel {
        y: axis(name, Unit::Number),
        lines: vec![Line {
            name,
            points: points(name),
        }],
        marks: (name == "reward" && episodes.len() <= 50).then(|| Marks {
            name: "episode",
            at: episodes.clone(),
        }),
    };
    drawn(
        &format!("Curiosity about {}", file.display()),
        axis("transition", Unit::Number),
        &[panel("reward"), panel("error")],
    )
}

fn axis(label: &str, unit: Unit) -> Axis<'_> {
    Axis { label, unit }
}

fn drawn(title: &str, x: Axis<'_>, panels: &[Panel<'_>]) -> Result<String, Failure> {
    plot::lines(title, x, panels).map_err(|error| Failure::new(Failure::FAILED, format!("failed to draw: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(Failure::FAILED, format!("failed to write {}: {error}", path.display())))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// A number as a table shows it.
fn number(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".to_owned(), |number| format!("{number:.4}"))
}

/// A number as a cell of a CSV file; empty where there is none.
fn cell(value: &Value) -> String {
    if value.is_null() {
        String::new()
    } else {
        value.to_string()
    }
}

/// When a step was; empty where that is not known.
fn moment(step: &Value) -> String {
    let time = step["time"].as_i64().map(Timestamp);
    time.map_or_else(String::new, Timestamp::to_rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_a_line_and_what_is_not_known_an_empty_cell() {
        let step = |at: u64, error: Value| {
            json!({
                "at": at, "time": 1_000 * at, "values": [1.5, null], "expected": [null, 2.0], "error": error, "novelty": 0.5, "evidence": 2.0, "alarm": 0.0,
            })
        };
        let csv = series_csv(&[step(0, Value::Null), step(1, json!(0.25))]);
        assert_eq!(
            csv.lines().collect::<Vec<_>>(),
            [
                "step,time,value_0,value_1,expected_0,expected_1,error,novelty,evidence,alarm",
                "0,1970-01-01T00:00:00.000Z,1.5,,,2.0,,0.5,2.0,0.0",
                "1,1970-01-01T00:00:01.000Z,1.5,,,2.0,0.25,0.5,2.0,0.0",
            ]
        );
        assert_eq!(series_csv(&[]).lines().count(), 1);
    }
}
