//! The module's parts: a weight `blocks.0.norm.bias` is `bias` of the part `norm` of the part `0` of the part `blocks`.
//! Invariants: each weight has one number, under which its bytes are in the archive; each part has a class of its own.

use std::fmt::Write as _;

use prost::bytes::Bytes;

use crate::model::operators::{Data, Operators};

/// The class of the whole module.
pub(super) const ROOT: &str = "Encoder";

/// A weight as the archive holds it: float32, little-endian.
pub(super) struct Weight {
    pub(super) shape: Vec<i64>,
    pub(super) bytes: Bytes,
}

/// A module: its weights, and its parts, by their names.
pub(super) struct Part {
    pub(super) class: String,
    /// Numbers of [`Tree::weights`].
    pub(super) weights: Vec<(String, usize)>,
    pub(super) parts: Vec<(String, Part)>,
}

/// The whole module.
pub(super) struct Tree {
    pub(super) root: Part,
    pub(super) weights: Vec<Weight>,
}

impl Tree {
    /// Of the weights that these operators use.
    pub(super) fn of(operators: &Operators) -> Self {
        let mut tree = Self {
            root: Part::new(ROOT.to_owned()),
            weights: Vec::new(),
        };
        let mut classes = 0;
        for constant in &operators.constants {
            if let Data::Weight {
                path, stored, bytes, ..
            } = &constant.data
            {
                let (parts, name) = path.rsplit_once('.').unwrap_or(("", path));
                let mut part = &mut tree.root;
                for below in parts.split('.').filter(|below| !below.is_empty()) {
                    part = part.below(below, &mut classes);
                }
                if part.weights.iter().all(|(known, _)| known != name) {
                    part.weights.push((name.to_owned(), tree.weights.len()));
                    tree.weights.push(Weight {
                        shape: stored.clone(),
                        bytes: bytes.clone(),
                    });
                }
            }
        }
        tree
    }

    /// The source of every class; `forward` is the whole module's.
    pub(super) fn source(&self, forward: &str) -> String {
        let mut source = String::new();
        self.root.declare(forward, &mut source);
        source
    }
}

impl Part {
    fn new(class: String) -> Self {
        Self {
            class,
            weights: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The part of this name, made where there is none.
    fn below(&mut self, name: &str, classes: &mut usize) -> &mut Self {
        let place = match self.parts.iter().position(|(known, _)| known == name) {
            Some(place) => place,
            None => {
                *classes += 1;
                self.parts.push((name.to_owned(), Self::new(format!("Part{classes}"))));
                self.parts.len() - 1
            }
        };
        &mut self.parts[place].1
    }

    /// Names are annotated by subscript, for not each of them could be a variable's.
    fn declare(&self, forward: &str, source: &mut String) {
        let names: String = self.weights.iter().map(|(name, _)| format!("\"{name}\", ")).collect();
        let weights = self.weights.iter().map(|(name, _)| (name, "Tensor".to_owned()));
        let parts = self
            .parts
            .iter()
            .map(|(name, part)| (name, format!("__torch__.{}", part.class)));
        let attributes: String = weights
            .chain(parts)
            .map(|(name, kind)| format!("  __annotations__[\"{name}\"] = {kind}\n"))
            .collect();
        // Writing to a string can not fail.
        let _ = write!(
            source,
            "class {}(Module):\n  __parameters__ = [{names}]\n  __buffers__ = []\n  training : bool\n{attributes}{forward}",
            self.class
        );
        for (_, part) in &self.parts {
            part.declare("", source);
        }
    }
}
