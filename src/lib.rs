//! curiod, a lifelong-learning daemon: files that nobody labels come in, a model that keeps getting better is asked.
//!
//! A sample's way is also the order to read the code in:
//!
//! 1. [`sample`]: bytes of a file become a small, checked sample; [`ingest`] finds the files, takes whole ones, and
//!    acknowledges them when they are durable.
//! 2. [`replay`]: the durable, bounded buffer that keeps and draws them, by what [`curiosity`] says of each.
//! 3. [`learn`]: views, steps, checkpoints, candidates; the networks are in [`model`], libtorch is reached by [`torch`].
//! 4. [`gate`]: judges a candidate by its exam; [`registry`] keeps the generations that it accepts.
//! 5. [`serve`]: embeddings, search and novelty over HTTP from one generation and the index of its space; [`status`] is
//!    the daemon at a glance.
//! 6. [`labels`]: the few labels that users give, classifiers of them, and what to label next.
//! 7. [`daemon`]: starts, joins and reloads all of it; [`cli`] and [`client`] ask it; [`demo`] watches one at work;
//!    [`backtest`] plays an archive through the parts of 2 and 3 and scores what was learnt; [`plot`] draws.
//!
//! What all of them lean on: [`config`], [`access`] (keys, and what they are for), [`limits`], [`ids`], [`clock`] and [`rng`] (time and randomness are passed in),
//! [`disk`] and [`durable`] (writing that survives a power cut, and faults on order). ARCHITECTURE.md has the threads, the queues and what is always true.

pub mod access;
pub mod backtest;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod curiosity;
pub mod daemon;
pub mod demo;
pub mod disk;
pub mod durable;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gate;
pub mod ids;
pub mod ingest;
pub mod labels;
pub mod learn;
pub mod limits;
pub mod model;
mod niceness;
pub mod plot;
pub mod registry;
pub mod replay;
pub mod rng;
pub mod sample;
pub mod serve;
pub mod socket;
pub mod status;
pub mod torch;
pub mod tune;
