//! The fast engine: MobileNet-like graphs, on kernels of our own.

use fruitjob_interface::model::{Layout, Precision, Preprocessing};
use mobilenet::{Isa, Network, Scratch};

use super::backbone::{Backbone, MAX_FEATURES, Session};
use super::head::Head;
use super::recognise::Recognised;
use crate::error::Result;

/// Names the kernels to use instead of the fastest that the processor has: for tests and measurements.
const ISA: &str = "FRUITJOB_ISA";

/// A network and the name of its kernels.
pub struct Kernels {
    network: Network,
    entry: Option<[[f32; 3]; 2]>,
    head: Head,
    features: usize,
    engine: String,
}

/// Packs the weights for this processor.
///
/// # Errors
/// Why the general engine has to do it.
pub fn compile(
    recognised: &Recognised,
    preprocessing: &Preprocessing,
    precision: Precision,
) -> Result<Kernels, String> {
    let isa = match std::env::var(ISA) {
        Ok(name) => Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name && isa.is_here())
            .ok_or(format!("{ISA}={name} is not to be had here"))?,
        Err(_) => Isa::best(),
    };
    let (isa, precision, suffix) = match precision {
        Precision::F32 => (isa, mobilenet::Precision::F32, ""),
        // AVX-512 without its products of bytes has nothing over AVX2.
        Precision::Int8 if isa == Isa::Avx512 && !isa.has_dot() => {
            (Isa::Avx2, mobilenet::Precision::Int8, "-int8")
        }
        Precision::Int8 => (isa, mobilenet::Precision::Int8, "-int8"),
    };
    let network = Network::new(&recognised.layers, preprocessing.size.map(|s| s as usize), isa, precision)?;
    let features = recognised.head.features(network.features())?;
    if !(2..=MAX_FEATURES).contains(&features) {
        return Err(format!("{features} features"));
    }
    let engine = format!("mobilenet-{}{suffix}", isa.name());
    let kernels =
        Kernels { network, entry: recognised.entry, head: recognised.head.clone(), features, engine };
    let mut vector = vec![0.0; kernels.features()];
    let plain = vec![0.0; preprocessing.len()];
    kernels.session().and_then(|mut s| s.run(&plain, &mut vector)).map_err(|e| e.to_string())?;
    if vector.iter().any(|x| !x.is_finite()) {
        return Err("values that are not finite for a plain image".into());
    }
    Ok(kernels)
}

impl Backbone for Kernels {
    fn engine(&self) -> &str {
        &self.engine
    }

    fn features(&self) -> usize {
        self.features
    }

    fn layout(&self) -> Layout {
        Layout::Nhwc
    }

    fn is_slow(&self) -> bool {
        self.network.precision() == mobilenet::Precision::Int8 && !self.network.isa().has_dot()
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(KernelsSession {
            kernels: self,
            scratch: self.network.scratch(),
            image: Vec::new(),
            means: vec![0.0; self.network.features()],
        }))
    }
}

struct KernelsSession<'a> {
    kernels: &'a Kernels,
    scratch: Scratch,
    /// What the graph makes of the image first.
    image: Vec<f32>,
    means: Vec<f32>,
}

impl Session for KernelsSession<'_> {
    fn run(&mut self, tensor: &[f32], features: &mut [f32]) -> Result<()> {
        let Kernels { network, entry, head, .. } = self.kernels;
        let image = match entry {
            None => tensor,
            Some([factor, summand]) => {
                let channels = (0..3).cycle();
                self.image.clear();
                self.image.extend(tensor.iter().zip(channels).map(|(x, c)| x * factor[c] + summand[c]));
                &self.image
            }
        };
        if head.is_empty() {
            network.forward(image, &mut self.scratch, features);
        } else {
            self.means.resize(network.features(), 0.0);
            network.forward(image, &mut self.scratch, &mut self.means);
            head.run(&mut self.means);
            features.copy_from_slice(&self.means);
        }
        Ok(())
    }
}
