//! What follows the global mean of a network: a classifier, a projection, a root. Little work, so it is done plainly.

use std::collections::HashMap;

use mobilenet::Step;

use super::graph::{self, Floats};
use super::onnx::NodeProto;
use super::recognise::clip;

/// What is done to the vector of means, in order.
#[derive(Debug, Clone, Default)]
pub struct Head(Vec<Step>);

impl Head {
    /// Takes a node on; whether it makes another vector. `vectors`: names of the one so far.
    ///
    /// # Errors
    /// It is nothing that is known here.
    pub fn push(
        &mut self,
        node: &NodeProto,
        vectors: &[String],
        constants: &HashMap<String, Floats>,
    ) -> Result<bool, String> {
        let is_vector = |at: usize| node.input.get(at).is_some_and(|name| vectors.contains(name));
        let known = |at: usize| {
            let name = node.input.get(at).ok_or("an input is missing")?;
            constants.get(name).ok_or(format!("{name} is not known beforehand"))
        };
        let number = |name: &str, none: f32| graph::attribute(node, name).map_or(none, |a| a.f());
        let flag = |name: &str| graph::attribute(node, name).is_some_and(|a| a.i() != 0);
        match node.op_type() {
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Dropout" if is_vector(0) => {
                return Ok(false);
            }
            "Cast" => match graph::attribute(node, "to").map_or(0, |a| a.i()) {
                1 | 10 | 11 | 16 => return Ok(false),
                _ => return Err("to no floats".into()),
            },
            // Of one batch, whose other axes are one long.
            "Transpose" => {
                let first = graph::attribute(node, "perm").and_then(|a| a.ints.first().copied());
                return if first == Some(0) { Ok(false) } else { Err("of the batch".into()) };
            }
            "Sqrt" => self.0.push(Step::Root),
            "MatMul" if is_vector(0) => self.product(known(1)?, false, 1.0)?,
            "Gemm" if is_vector(0) && !flag("transA") => {
                self.product(known(1)?, flag("transB"), number("alpha", 1.0))?;
                if node.input.get(2).is_some_and(|name| !name.is_empty()) {
                    let beta = number("beta", 1.0);
                    self.affine(vec![1.0], known(2)?.data.iter().map(|x| x * beta).collect())?;
                }
            }
            "Conv"
                if is_vector(0)
                    && known(1)?.dims.get(2..) == Some(&[1, 1][..])
                    && number_of_groups(node) == 1 =>
            {
                self.product(known(1)?, true, 1.0)?;
                if node.input.len() == 3 {
                    self.affine(vec![1.0], known(2)?.data.clone())?;
                }
            }
            "Add" | "Mul" | "Sub" | "Div" => {
                let at = usize::from(is_vector(0));
                let data = known(at)?.data.clone();
                match (node.op_type(), at) {
                    ("Add", _) => self.affine(vec![1.0], data)?,
                    ("Mul", _) => self.affine(data, vec![0.0])?,
                    ("Sub", 1) => self.affine(vec![1.0], data.iter().map(|x| -x).collect())?,
                    ("Div", 1) => self.affine(data.iter().map(|x| 1.0 / x).collect(), vec![0.0])?,
                    _ => return Err("it follows the global mean".into()),
                }
            }
            "Softmax" => self.0.push(Step::Softmax),
            _ => {
                let name = node.input.iter().find(|name| vectors.contains(name)).expect("one is");
                let bounds = clip(node, name, constants)?.ok_or("it follows the global mean")?;
                self.0.push(Step::Clamp(bounds));
            }
        }
        Ok(true)
    }

    fn product(&mut self, weight: &Floats, transposed: bool, factor: f32) -> Result<(), String> {
        let [a, b, ..] = weight.dims[..] else { return Err("of no matrix".into()) };
        let (inputs, outputs) = if transposed { (b, a) } else { (a, b) };
        if weight.data.len() != inputs * outputs || inputs == 0 || outputs == 0 {
            return Err("of no matrix".into());
        }
        let at = |i: usize, o: usize| {
            weight.data[if transposed { o * inputs + i } else { i * outputs + o }] * factor
        };
        let weight =
            (0..inputs).flat_map(|i| (0..outputs).map(move |o| (i, o))).map(|(i, o)| at(i, o)).collect();
        self.0.push(Step::Product { weight, outputs });
        Ok(())
    }

    fn affine(&mut self, factor: Vec<f32>, summand: Vec<f32>) -> Result<(), String> {
        self.0.push(Step::Affine { factor, summand });
        Ok(())
    }

    /// How long the vector is in the end, from so many means.
    ///
    /// # Errors
    /// A step takes another number.
    pub fn features(&self, means: usize) -> Result<usize, String> {
        Step::features(&self.0, means)
    }

    /// All of it.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does all of it.
    pub fn run(&self, vector: &mut Vec<f32>) {
        Step::run(&self.0, vector);
    }
}

fn number_of_groups(conv: &NodeProto) -> i64 {
    graph::attribute(conv, "group").map_or(1, |a| a.i())
}
