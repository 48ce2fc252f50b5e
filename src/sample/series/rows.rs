//! The rows of a source -> series of steps: in the order of time, with what is missing filled in.
//! Always true: no more numbers than `values_max` are held.

use super::SeriesLimits;
use super::cells::Cell;
use super::notes::Notes;
use super::plan::{Plan, Sample, Time};
use super::windows::Series;
use crate::sample::reading::quoted;
use crate::sample::{Reason, Rejection};

/// Names of a column that numbers the rows, in lower case.
const INDEX_NAMES: [&str; 14] = [
    "",
    "id",
    "index",
    "idx",
    "row",
    "rownames",
    "row_id",
    "no",
    "no.",
    "nr",
    "#",
    "record",
    "instant",
    "unnamed: 0",
];

/// A variable is left out where less than one row in so many has it.
const PRESENT_ONE_IN: usize = 20;

/// Of 100 steps those that must be like the median one, so that times are regular.
const REGULAR_PERCENT_MIN: usize = 70;

/// How much of the median a step like it may differ: months do by a tenth.
const STEP_TOLERANCE: f64 = 0.2;

/// A step longer than so many median ones is a gap.
const GAP_STEPS_MIN: f64 = 1.5;

/// The rows of a source, as they are read.
pub(super) struct Rows<'a> {
    limits: &'a SeriesLimits,
    plan: Plan,
    times: Vec<f64>,
    /// The number of each row in its source.
    at: Vec<u64>,
    variables: Vec<Variable>,
}

struct Variable {
    column: usize,
    name: String,
    values: Vec<f64>,
    numbers: usize,
    words: usize,
    notes: Notes,
}

impl<'a> Rows<'a> {
    /// For a source that begins with these rows.
    pub(super) fn new(sample: &Sample<'_>, limits: &'a SeriesLimits) -> Result<Self, Rejection> {
        let plan = Plan::of(sample, limits)?;
        let variables = plan.variables.iter().map(|&column| Variable {
            column,
            name: sample.names.get(column).cloned().unwrap_or_default(),
            values: Vec::new(),
            numbers: 0,
            words: 0,
            notes: Notes::default(),
        });
        Ok(Self {
            limits,
            times: Vec::new(),
            at: Vec::new(),
            variables: variables.collect(),
            plan,
        })
    }

    /// Columns that are read.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        let time = self.plan.time.into_iter().flat_map(Time::columns);
        time.chain(self.plan.variables.iter().copied())
    }

    /// Takes the row `at`, whose cells `cell` gives by their columns.
    pub(super) fn push<'c>(
        &mut self,
        at: u64,
        cell: impl Fn(usize) -> Cell<'c>,
        notes: &mut Notes,
    ) -> Result<(), Rejection> {
        if let Some(time) = self.plan.time {
            let Some(time) = time.read(&cell) else {
                notes.fault(at, Reason::Corrupt, || "its time can not be read; passed over".into());
                return Ok(());
            };
            self.times.push(time);
        }
        if (self.at.len() + 1).saturating_mul(self.variables.len() + 2) > self.limits.values_max {
            return Err(self.limits.too_many_values());
        }
        self.at.push(at);
        for variable in &mut self.variables {
            let value = match cell(variable.column) {
                Cell::Number(number) => {
                    variable.numbers += 1;
                    number
                }
                Cell::Empty => f64::NAN,
                Cell::Missing(text) => {
                    variable.unreadable(at, &text);
                    f64::NAN
                }
                Cell::Word(text) => {
                    variable.words += 1;
                    variable.unreadable(at, &text);
                    f64::NAN
                }
                Cell::Moment(_) => {
                    variable.words += 1;
                    variable.unreadable(at, "a time");
                    f64::NAN
                }
            };
            variable.values.push(value);
        }
        Ok(())
    }

    /// The series, one for each stretch without a long gap.
    pub(super) fn finish(mut self, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
        if self.at.is_empty() {
            return Err(match notes.faults.first() {
                Some(fault) => {
                    let detail = format!("every row is broken; the first is row {}: {}", fault.at, fault.detail);
                    Rejection::new(fault.reason, detail)
                }
                None => Rejection::new(Reason::EmptyFile, "the table has no rows"),
            });
        }
        self.choose()?;
        for variable in &mut self.variables {
            notes.merge(std::mem::take(&mut variable.notes));
        }
        let order = self.order(notes);
        self.stretches(&order)
    }

    /// Leaves out what is no variable.
    fn choose(&mut self) -> Result<(), Rejection> {
        let rows = self.at.len();
        if self.limits.value_columns.is_empty() {
            self.variables.retain(|variable| {
                let is_there = variable.numbers > 0 && variable.numbers * PRESENT_ONE_IN >= rows;
                is_there && variable.numbers >= variable.words && !variable.is_index()
            });
            // A first column of running numbers is a variable only where it is the only one.
            if self.variables.len() > 1 {
                self.variables
                    .retain(|variable| variable.column > 0 || !variable.runs());
            }
        }
        if self.variables.is_empty() {
            return Err(Rejection::new(Reason::UnsupportedType, "no column of it holds numbers"));
        }
        self.limits.check_channels(self.variables.len())
    }

    /// The rows in the order of time, the first of each. Where more than a fifth of them repeat a time, what was taken for the time
    /// orders nothing (days of hours that stand in another column, several series one below the other): they keep their own order.
    fn order(&mut self, notes: &mut Notes) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.at.len()).collect();
        let (Some(_), mut latest, mut late) = (self.plan.time, f64::NEG_INFINITY, Vec::new()) else {
            return order;
        };
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.dedup();
        if times.len() * 10 < self.times.len() * 8 {
            self.plan.time = None;
            self.times.clear();
            let detail = || "many rows have the time of another; all are taken in the source's order".into();
            notes.fault(1, Reason::Corrupt, detail);
            return order;
        }
        for (time, at) in self.times.iter().zip(&self.at) {
            if *time < latest {
                late.push(*at);
            }
            latest = latest.max(*time);
        }
        if let Some(first) = late.first() {
            let detail = || {
                format!(
                    "{} rows, the first of them here, were not in the order of time; sorted",
                    late.len()
                )
            };
            notes.fault(*first, Reason::Corrupt, detail);
        }
        let time = |row: &usize| self.times.get(*row).copied().unwrap_or_default();
        order.sort_by(|left, right| time(left).total_cmp(&time(right)));
        let mut repeated = Notes::default();
        order.dedup_by(|row, kept| {
            let is_repeated = time(row) == time(kept);
            if is_repeated {
                let at = |row: &usize| self.at.get(*row).copied().unwrap_or_default();
                let detail = || format!("its time is that of row {}, which is kept", at(kept));
                repeated.fault(at(row), Reason::Corrupt, detail);
            }
            is_repeated
        });
        notes.merge(repeated);
        order
    }

    /// The median step, where times are regular.
    fn step(&self, order: &[usize]) -> Option<f64> {
        let time = |row: &usize| self.times.get(*row).copied();
        let pairs = order.windows(2);
        let mut steps: Vec<f64> = pairs
            .filter_map(|pair| Some(time(&pair[1])? - time(&pair[0])?))
            .collect();
        steps.sort_by(f64::total_cmp);
        let median = *steps.get(steps.len() / 2)?;
        let is_like = |step: &&f64| (**step - median).abs() <= STEP_TOLERANCE * median;
        let regular = steps.iter().filter(is_like).count() * 100 >= steps.len() * REGULAR_PERCENT_MIN;
        (median > 0.0 && regular).then_some(median)
    }

    /// Cuts at long gaps and fills short ones.
    fn stretches(&self, order: &[usize]) -> Result<Vec<Series>, Rejection> {
        let step = self.step(order);
        let mut stretches: Vec<Vec<(Option<usize>, f64)>> = vec![Vec::new()];
        let mut numbers = 0_usize;
        for &row in order {
            let time = self.times.get(row).copied().unwrap_or(f64::NAN);
            let before = stretches
                .last()
                .and_then(|stretch| stretch.last())
                .map(|(_, time)| *time);
            let jump = step.zip(before).map(|(step, before)| (time - before, before, step));
            let missing = match jump {
                Some((jump, _, step)) if jump > GAP_STEPS_MIN * step => (jump / step).round().max(2.0) as usize - 1,
                _ => 0,
            };
            if missing > self.limits.window_steps {
                stretches.push(Vec::new());
            } else if let Some((jump, before, _)) = jump {
                numbers = numbers.saturating_add(missing * self.variables.len());
                if numbers > self.limits.values_max {
                    return Err(self.limits.too_many_values());
                }
                let filled = (1..=missing).map(|i| before + jump * i as f64 / (missing + 1) as f64);
                stretches
                    .last_mut()
                    .into_iter()
                    .for_each(|stretch| stretch.extend(filled.clone().map(|time| (None, time))));
            }
            stretches
                .last_mut()
                .into_iter()
                .for_each(|stretch| stretch.push((Some(row), time)));
            numbers = numbers.saturating_add(self.variables.len());
        }
        let is_dated = self.plan.time.is_some_and(Time::is_dated);
        let series = stretches.into_iter().map(|stretch| {
            let value = |variable: &Variable, row: Option<usize>| row.and_then(|row| variable.values.get(row).copied());
            let steps = |variable| {
                stretch
                    .iter()
                    .map(move |(row, _)| value(variable, *row).unwrap_or(f64::NAN))
            };
            Series {
                channels: self.variables.len(),
                values: self.variables.iter().flat_map(steps).collect(),
                times: match is_dated {
                    true => stretch.iter().map(|(_, time)| time.round() as i64).collect(),
                    false => Vec::new(),
                },
            }
        });
        Ok(series.collect())
    }
}

impl Variable {
    fn unreadable(&mut self, at: u64, text: &str) {
        let name = &self.name;
        let detail = || {
            format!(
                "{} in column {} is no number; it is missing",
                quoted(text),
                quoted(name)
            )
        };
        self.notes.fault(at, Reason::Corrupt, detail);
    }

    /// Whether each value is one more than the one before it, from 0 or 1 on.
    fn runs(&self) -> bool {
        let first = self.values.first().copied().unwrap_or(f64::NAN);
        (first == 0.0 || first == 1.0) && self.values.windows(2).all(|pair| pair[1] == pair[0] + 1.0)
    }

    /// Whether it only numbers the rows, of which some may be lost.
    fn is_index(&self) -> bool {
        let grows = || self.values.windows(2).all(|pair| pair[0] < pair[1]);
        let is_whole = || self.values.iter().all(|value| value.fract() == 0.0);
        INDEX_NAMES.contains(&self.name.trim().to_lowercase().as_str()) && grows() && is_whole()
    }
}
