//! The live view of the demo: a few lines that are drawn again and again on a terminal, one line at times elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Seconds between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Surprise values that the spark line shows.
const SPARK_MAX: usize = 60;

/// What is shown, and what of it was shown last.
pub(super) struct View {
    terminal: bool,
    total: usize,
    lines: usize,
    last_line: Option<Instant>,
    generation: u64,
    arriving: String,
    surprise: Vec<f64>,
}

impl View {
    /// A view of a demo that drops so many pictures.
    pub(super) fn new(total: usize) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            terminal,
            total,
            lines: 0,
            last_line: None,
            generation: 0,
            arriving: String::new(),
            surprise: Vec::new(),
        }
    }

    /// Shows a stream's status. `arriving` is the photo whose crops are dropped now, None when all are.
    pub(super) fn show(&mut self, stream: &Value, dropped: usize, arriving: Option<&str>, left: Duration) {
        if let Some(photo) = arriving.filter(|photo| *photo != self.arriving) {
            self.arriving = photo.to_owned();
            self.say(&format!("a new photo begins: {photo}"));
        }
        let generation = stream["generation"].as_u64().unwrap_or(0);
        if generation > self.generation {
            self.generation = generation;
            self.say(&format!("generation {generation} published at step {}", stream["step"]));
        }
        let number = |key: &str| stream[key].as_f64();
        if let Some(surprise) = number("surprise") {
            self.surprise.push(surprise);
            if self.surprise.len() > SPARK_MAX {
                self.surprise.remove(0);
            }
        }
        let shown =
            |key: &str, decimals: usize| number(key).map_or("-".to_owned(), |value| format!("{value:.decimals$}"));
        let files = format!(
            "files {} of {dropped} dropped ({} in all)",
            stream["sources_accepted"], self.total
        );
        let steps = format!(
            "step {}, {}/s, loss {}",
            stream["step"],
            shown("steps_per_s", 1),
            shown("loss", 3)
        );
        let rank = format!("rank {}, surprise {}", shown("rank", 1), shown("surprise", 2));
        let index = format!(
            "generation {generation}, searchable {} of {}",
            stream["index_covered"], stream["index_total"]
        );
        if self.terminal {
            self.erase();
            let lines = [
                format!("  {files}; {} s left", left.as_secs()),
                format!("  {steps}"),
                format!("  {rank}  {}", spark(&self.surprise)),
                format!("  {index}"),
            ];
            self.lines = lines.len();
            println!("{}", lines.join("\n"));
            let _ = std::io::stdout().flush();
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            println!("{files}; {steps}; {rank}; {index}; {} s left", left.as_secs());
        }
    }

    /// Leaves the last lines where they are.
    pub(super) fn end(&mut self) {
        self.lines = 0;
        println!();
    }

    /// A line that stays, above the ones that are drawn again.
    fn say(&mut self, line: &str) {
        self.erase();
        println!("{line}");
    }

    fn erase(&mut self) {
        if self.terminal && self.lines > 0 {
            print!("\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }
}

/// Values as bars of eight heights, the largest as the highest.
fn spark(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    values
        .iter()
        .map(|value| BARS[((value / largest * 7.0).round().max(0.0) as usize).min(7)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_is_the_highest_bar() {
        assert_eq!(spark(&[0.0, 1.0, 2.0]), "▁▅█");
        assert_eq!(spark(&[]), "");
    }
}
