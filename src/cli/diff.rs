//! `curiod models diff`: what another generation changed, by who is near whom.

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::output::{print, print_json, table};
use super::{Connection, Format, models};

/// The flags of `curiod models diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The generation to compare with: STREAM, STREAM@stable or STREAM@42
    from: String,
    /// The one to compare: of the same stream, or its number or name alone
    to: String,
    /// How many samples of the replay buffer to compare, 3 to 2,000
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    samples: usize,
    /// How many of the samples that moved most to name, 0 to 100
    #[arg(long, default_value_t = 10, value_name = "N")]
    moved: usize,
    /// What the samples are drawn by
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let (stream, from) = models::parts(&args.from)?;
    let to = match args.to.contains('@') || args.to == stream.as_str() {
        true => {
            let (other, to) = models::parts(&args.to)?;
            if other != stream {
                let what = format!("`{stream}` and `{other}` are two streams: their samples are not the same");
                return Err(Failure::new(Failure::USAGE, what).hint("name two generations of one stream"));
            }
            to
        }
        false => models::generation(&args.to)?,
    };
    let DiffArgs {
        samples, moved, seed, ..
    } = args;
    let query = format!("from={from}&to={to}&samples={samples}&moved={moved}&seed={seed}");
    let client = args.connection.client()?;
    let answer = client.get(&format!("/api/v1/models/{stream}/diff?{query}"))?;
    if args.format.json {
        return print_json(&answer);
    }
    print(&told(&answer))
}

fn told(answer: &Value) -> String {
    let share = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"))
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let sides = ["from", "to"].map(|side| {
        let of = |key: &str| text(&answer[side][key]);
        [side.to_owned(), of("generation"), of("step"), of("space")]
    });
    let mut shown = table(["", ">generation", ">step", "space"], &sides);
    let overlap = |key: &str| share(&answer["overlap"][key]);
    let measures = [
        [
            "samples".to_owned(),
            format!("{} of {}", answer["samples"], answer["samples_asked"]),
        ],
        [
            format!("neighbours kept of {}, mean", answer["neighbours"]),
            overlap("mean"),
        ],
        [
            "least, tenth, half, nine tenths, most".to_owned(),
            ["min", "p10", "p50", "p90", "max"].map(overlap).join("  "),
        ],
        [
            "similarities go together (1: as before)".to_owned(),
            share(&answer["structure"]),
        ],
    ];
    shown += &format!("\n{}", table(["compared", ""], &measures));
    let moved = answer["moved"].as_array().map_or(&[][..], Vec::as_slice);
    if !moved.is_empty() {
        let rows: Vec<_> = moved
            .iter()
            .map(|moved| [text(&moved["id"]), share(&moved["overlap"]), text(&moved["path"])])
            .collect();
        shown += &format!("\n{}", table([">moved most", ">kept", "path"], &rows));
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_told_in_three_tables_and_a_sample_that_is_gone_has_no_path() {
        let side = |generation: u64| json!({ "generation": generation, "step": 100 * generation, "space": "abc" });
        let answer = json!({
            "from": side(1), "to": side(2), "samples": 60, "samples_asked": 1000, "neighbours": 10,
            "overlap": { "mean": 0.5, "min": 0.0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "max": 1.0 },
            "structure": null,
            "moved": [{ "id": 7, "path": "a.png", "overlap": 0.0 }, { "id": 8, "path": null, "overlap": 0.1 }],
        });
        let told = told(&answer);
        for line in [
            "samples                                  60 of 1000",
            "neighbours kept of 10, mean              0.500",
            "least, tenth, half, nine tenths, most    0.000  0.100  0.500  0.900  1.000",
            "similarities go together (1: as before)  -",
            "         7  0.000  a.png",
            "         8  0.100  null",
        ] {
            assert!(told.lines().any(|told| told == line), "{line:?} is not in\n{told}");
        }
    }
}
