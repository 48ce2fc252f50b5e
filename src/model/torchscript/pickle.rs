//! A module as Python's pickle, protocol 2, in the words that `torch.jit.save` uses.
//! Always true: nothing is read here, and what is written names no class but the archive's own and torch's tensors.

use super::tree::{Part, Tree, Weight};

const PROTO_2: &[u8] = b"\x80\x02";
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const TUPLE: u8 = b't';
const EMPTY_TUPLE: u8 = b')';
const EMPTY_DICT: u8 = b'}';
const SET_ITEMS: u8 = b'u';
const GLOBAL: u8 = b'c';
const NEW_OBJECT: u8 = 0x81;
const BUILD: u8 = b'b';
const REDUCE: u8 = b'R';
const TEXT: u8 = b'X';
const PERSISTENT: u8 = b'Q';
const FALSE: u8 = 0x89;
const INT_32: u8 = b'J';
const INT_ANY: u8 = 0x8a;

/// `data.pkl`: the module and all below it, ready to be asked; weights by their numbers in the archive.
pub(super) fn module(tree: &Tree) -> Vec<u8> {
    let mut pickle = Pickle(PROTO_2.to_vec());
    pickle.part(tree, &tree.root);
    pickle.0.push(STOP);
    pickle.0
}

/// `constants.pkl`: an empty tuple, for the source says its constants itself.
pub(super) fn nothing() -> Vec<u8> {
    [PROTO_2, &[EMPTY_TUPLE, STOP]].concat()
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn part(&mut self, tree: &Tree, part: &Part) {
        self.global("__torch__", &part.class);
        self.0.extend([EMPTY_TUPLE, NEW_OBJECT, EMPTY_DICT, MARK]);
        self.text("training");
        self.0.push(FALSE);
        for (name, number) in &part.weights {
            self.text(name);
            self.tensor(*number, &tree.weights[*number]);
        }
        for (name, below) in &part.parts {
            self.text(name);
            self.part(tree, below);
        }
        self.0.extend([SET_ITEMS, BUILD]);
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`. It requires none: the file is there to be asked.
    fn tensor(&mut self, number: usize, weight: &Weight) {
        let count: i64 = weight.shape.iter().product();
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend([MARK, MARK]);
        self.text("storage");
        self.global("torch", "FloatStorage");
        self.text(&number.to_string());
        self.text("cpu");
        self.int(count);
        self.0.extend([TUPLE, PERSISTENT]);
        self.int(0);
        self.ints(&weight.shape);
        self.ints(&strides(&weight.shape));
        self.0.push(FALSE);
        self.global("collections", "OrderedDict");
        self.0.extend([EMPTY_TUPLE, REDUCE, TUPLE, REDUCE]);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.push(GLOBAL);
        self.0.extend(format!("{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(TEXT);
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(INT_32);
                self.0.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.0.extend([INT_ANY, 8]);
                self.0.extend(value.to_le_bytes());
            }
        }
    }

    fn ints(&mut self, values: &[i64]) {
        self.0.push(MARK);
        for value in values {
            self.int(*value);
        }
        self.0.push(TUPLE);
    }
}

/// How far apart neighbours along each dimension lie: the last dimension first.
fn strides(shape: &[i64]) -> Vec<i64> {
    (1..=shape.len()).map(|from| shape[from..].iter().product()).collect()
}
