//! Sentences about labels, classifiers of them, and what to label next.

mod classifiers;
mod keeping;
mod queue;
