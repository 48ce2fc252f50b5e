//! Layers that several networks share, as operators: each computes what the layer of the same name does in libtorch.

use super::Misfit;
use super::graph::{Graph, Value};
use super::parts::{float, int, ints};
use crate::model::bert::NO_TOKEN;
use crate::model::layers::EPSILON;

impl Graph<'_> {
    /// A matrix and a bias: [.., inputs] to [.., outputs].
    pub(super) fn dense(&mut self, x: &Value, path: &str, [inputs, outputs]: [i64; 2]) -> Result<Value, Misfit> {
        let weight = self.transposed(&format!("{path}.weight"), [outputs, inputs])?;
        let bias = self.weight(&format!("{path}.bias"), &[outputs])?;
        let product = self.op("MatMul", [x, &weight]);
        Ok(self.op("Add", [&product, &bias]))
    }

    /// Layer normalisation over the last dimension.
    pub(super) fn layer_norm(&mut self, x: &Value, path: &str, dim: i64, epsilon: f64) -> Result<Value, Misfit> {
        let weight = self.weight(&format!("{path}.weight"), &[dim])?;
        let bias = self.weight(&format!("{path}.bias"), &[dim])?;
        let settings = [int("axis", -1), float("epsilon", epsilon as f32)];
        Ok(self.op_with("LayerNormalization", [x, &weight, &bias], settings))
    }

    /// GELU by the error function.
    pub(super) fn gelu(&mut self, x: &Value) -> Value {
        let (root, one, half) = (self.float(std::f32::consts::SQRT_2), self.float(1.0), self.float(0.5));
        let scaled = self.op("Div", [x, &root]);
        let erf = self.op("Erf", [&scaled]);
        let gate = self.op("Add", [&erf, &one]);
        let gated = self.op("Mul", [x, &gate]);
        self.op("Mul", [&gated, &half])
    }

    /// Softmax attention over [N, T, D] each. `penalty` [N, 1, 1, T] is added to the scores.
    pub(super) fn attention(&mut self, [q, k, v]: [&Value; 3], heads: i64, dim: i64, penalty: Option<&Value>) -> Value {
        let (size, scale) = (dim / heads, self.float(1.0 / ((dim / heads) as f32).sqrt()));
        let (apart, together) = (self.wholes(&[0, 0, heads, size]), self.wholes(&[0, 0, dim]));
        let mut turned = |x: &Value, order: [i64; 4]| {
            let parts = self.op("Reshape", [x, &apart]);
            self.op_with("Transpose", [&parts], [ints("perm", &order)])
        };
        let (q, v) = (turned(q, [0, 2, 1, 3]), turned(v, [0, 2, 1, 3]));
        let k = turned(k, [0, 2, 3, 1]);
        let scores = self.op("MatMul", [&q, &k]);
        let mut scores = self.op("Mul", [&scores, &scale]); //                        [N, heads, T, T]
        if let Some(penalty) = penalty {
            scores = self.op("Add", [&scores, penalty]);
        }
        let shares = self.op_with("Softmax", [&scores], [int("axis", -1)]);
        let mixed = self.op("MatMul", [&shares, &v]);
        let mixed = self.op_with("Transpose", [&mixed], [ints("perm", &[0, 2, 1, 3])]);
        self.op("Reshape", [&mixed, &together])
    }

    /// A block of a ViT, with a norm before each part: [N, T, D] to [N, T, D].
    pub(super) fn block(
        &mut self,
        x: &Value,
        path: &str,
        heads: i64,
        dim: i64,
        penalty: Option<&Value>,
    ) -> Result<Value, Misfit> {
        let normed = self.layer_norm(x, &format!("{path}.norm1"), dim, EPSILON)?;
        let qkv = self.dense(&normed, &format!("{path}.attn.qkv"), [dim, 3 * dim])?;
        let [q, k, v] = self.split(&qkv);
        let mixed = self.attention([&q, &k, &v], heads, dim, penalty);
        let attended = self.dense(&mixed, &format!("{path}.attn.proj"), [dim, dim])?;
        let x = self.op("Add", [x, &attended]);
        let normed = self.layer_norm(&x, &format!("{path}.norm2"), dim, EPSILON)?;
        let wide = self.dense(&normed, &format!("{path}.mlp.fc1"), [dim, 4 * dim])?;
        let wide = self.gelu(&wide);
        let narrow = self.dense(&wide, &format!("{path}.mlp.fc2"), [4 * dim, dim])?;
        Ok(self.op("Add", [&x, &narrow]))
    }

    /// What is added to scores, [N, 1, 1, T], of a mask [N, T]: 1 where a place holds a token, else 0.
    pub(super) fn penalty(&mut self, mask: &Value) -> Value {
        let (one, no_token, axes) = (self.float(1.0), self.float(NO_TOKEN as f32), self.wholes(&[1, 2]));
        let absent = self.op("Sub", [&one, mask]);
        let penalty = self.op("Mul", [&absent, &no_token]);
        self.op("Unsqueeze", [&penalty, &axes])
    }

    /// The mean of the tokens that a mask [N, T] shows: [N, T, H] to [N, H].
    pub(super) fn mean_of(&mut self, x: &Value, mask: &Value) -> Value {
        let (last, over_tokens, one) = (self.wholes(&[2]), self.wholes(&[1]), self.float(1.0));
        let mask = self.op("Unsqueeze", [mask, &last]); //                             [N, T, 1]
        let shown = self.op("Mul", [x, &mask]);
        let sum = self.op_with("ReduceSum", [&shown, &over_tokens], [int("keepdims", 0)]);
        let count = self.op_with("ReduceSum", [&mask, &over_tokens], [int("keepdims", 0)]);
        let count = self.op("Max", [&count, &one]);
        self.op("Div", [&sum, &count])
    }

    /// Rows of unit length: [N, D] to [N, D]. The floor keeps a zero row zero instead of dividing by it.
    pub(super) fn unit(&mut self, x: &Value) -> Value {
        let floor = self.float(1e-12);
        let length = self.op_with("ReduceL2", [x], [ints("axes", &[1]), int("keepdims", 1)]);
        let length = self.op("Max", [&length, &floor]);
        self.op("Div", [x, &length])
    }
}
