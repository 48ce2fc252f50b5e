//! Ingest, seen from outside: files are dropped, and the buffer, the folders and the verdicts are looked at.

mod arrival;
mod quarantine;
mod verdicts;
mod world;
