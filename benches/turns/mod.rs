//! Sides that are measured against each other in one run: each is a process, they work in turns, and the one whose turn
//! it is not is stopped, because the speed of a shared machine swings by more than the differences looked for.
//! Always true: a side works only between a line that asks for units and its answer; a ratio is taken within one round.

pub(crate) mod peers;
pub(crate) mod pictures;

use std::io::{BufRead, BufReader, Write, stdin};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// One measured process.
pub(crate) struct Side {
    pub(crate) name: String,
    /// What it said when it was ready.
    pub(crate) ready: Value,
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Side {
    /// Starts it, waits until it is ready, and stops it until its first turn.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} starts: {error}"));
        let questions = child.stdin.take().expect("its input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut side = Self {
            name: name.to_owned(),
            ready: Value::Null,
            child,
            questions,
            answers,
        };
        side.ready = side.answer();
        side.signal(Signal::STOP);
        side
    }

    /// This very benchmark as a side of its own.
    pub(crate) fn ours(name: &str, arguments: &[&str]) -> Self {
        let bench = std::env::current_exe().expect("the benchmark knows its own path");
        Self::start(name, Command::new(bench).arg("--side").args(arguments))
    }

    /// How many units of work it does in about this many seconds, and at least one.
    fn units_in(&mut self, seconds: f64) -> u32 {
        let mut units = 1;
        loop {
            let rate = self.turn(units);
            if f64::from(units) / rate > seconds / 8.0 {
                return ((rate * seconds) as u32).max(1);
            }
            units *= 4;
        }
    }

    /// Its turn: units of work a second.
    pub(crate) fn turn(&mut self, units: u32) -> f64 {
        self.signal(Signal::CONT);
        writeln!(self.questions, "{units}").expect("the side listens");
        let answer = self.answer();
        self.signal(Signal::STOP);
        f64::from(units) / answer["seconds"].as_f64().unwrap_or(f64::NAN)
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the side answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{} answered {line:?}", self.name))
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_child(&self.child);
        kill_process_group(group, signal).unwrap_or_else(|error| panic!("{} takes a signal: {error}", self.name));
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The arguments after `--side`, where this process is one.
pub(crate) fn side_arguments() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--side");
    arguments.next().map(|_| arguments.collect())
}

/// A side's life: says that it is ready, and its process, then does as many units of work as each line asks for.
pub(crate) fn answer(mut ready: Value, mut work: impl FnMut(u32)) {
    ready["process"] = std::process::id().into();
    println!("{ready}");
    for line in stdin().lines().map_while(Result::ok) {
        let units = line.trim().parse().expect("a line is a number of units");
        let start = Instant::now();
        work(units);
        println!("{}", json!({ "seconds": start.elapsed().as_secs_f64() }));
    }
}

/// Rates of several sides, round by round.
pub(crate) struct Rounds {
    names: Vec<String>,
    /// `[side][round]`, units a second.
    rates: Vec<Vec<f64>>,
}

impl Rounds {
    /// Gives each side a turn of about `seconds` in each round; every other round goes the other way about, so that a
    /// drift of the machine favours nobody. A side whose units of work are not the others' says with `worth` what one counts.
    pub(crate) fn take(sides: &mut [Side], seconds: f64, rounds: usize) -> Self {
        let units: Vec<u32> = sides.iter_mut().map(|side| side.units_in(seconds)).collect();
        let mut rates = vec![Vec::new(); sides.len()];
        for round in 0..rounds {
            let order: Vec<usize> = if round % 2 == 0 {
                (0..sides.len()).collect()
            } else {
                (0..sides.len()).rev().collect()
            };
            for side in order {
                let worth = sides[side].ready["worth"].as_f64().unwrap_or(1.0);
                rates[side].push(worth * sides[side].turn(units[side]));
            }
        }
        let names = sides.iter().map(|side| side.name.clone()).collect();
        Self { names, rates }
    }

    /// One line a side: median rate and its extremes, in `unit` of which each unit of work has `scale`.
    pub(crate) fn print(&self, unit: &str, scale: f64) {
        for (name, rates) in self.names.iter().zip(&self.rates) {
            let (low, median, high) = spread(rates);
            let [low, median, high] = [low, median, high].map(|rate| rate * scale);
            println!("  {name:<44} {median:>10.1} {unit}   ({low:.1} to {high:.1})");
        }
    }

    /// The median over rounds of one side's rate against another's, and its extremes.
    pub(crate) fn print_ratio(&self, ours: usize, theirs: usize, target: Option<f64>) {
        let ratios: Vec<f64> = self.rates[ours]
            .iter()
            .zip(&self.rates[theirs])
            .map(|(a, b)| a / b)
            .collect();
        let (low, median, high) = spread(&ratios);
        let (ours, theirs) = (&self.names[ours], &self.names[theirs]);
        let target = target.map_or(String::new(), |target| format!(", target {target}x"));
        println!("  {ours} / {theirs}: {median:.2}x ({low:.2} to {high:.2}){target}");
    }
}

/// Least, median and greatest.
pub(crate) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    };
    (sorted[0], median, sorted[sorted.len() - 1])
}
