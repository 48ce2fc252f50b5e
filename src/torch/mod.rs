//! What the other rooms need of libtorch beyond tch: the process's settings, the device, and the shim's operations.
//! Invariant: no error of this room holds more than the first line of libtorch's text, whose rest is a C++ stack.

mod shim;

use std::path::PathBuf;

use tch::TchError;
pub use tch::{Device, Kind, Tensor};
use tracing::{info, warn};

pub use shim::{
    AdamWStep, Bf16Autocast, PackedMatrix, adamw_step, channels_last, drop_gradients, lerp, norm, param_channels_last,
    set_deterministic, tensor_over,
};

use crate::config::{DeviceChoice, DeviceConfig, Precision};

/// What went wrong in libtorch.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// An operation failed.
    #[error("libtorch: {0}")]
    Operation(String),
    /// CUDA was asked for and is not there.
    #[error("`device.kind = \"cuda\"`, but {0}")]
    NoCuda(String),
}

impl TorchError {
    fn from_libtorch(text: &str) -> Self {
        Self::Operation(text.lines().next().unwrap_or("no text").to_owned())
    }
}

impl From<TchError> for TorchError {
    fn from(error: TchError) -> Self {
        match error {
            TchError::Torch(text) => Self::from_libtorch(&text),
            other => Self::from_libtorch(&other.to_string()),
        }
    }
}

/// The libtorch that tch 0.24 binds; torch-sys refuses to build with another.
const LIBTORCH_VERSION: &str = "2.11.0";

/// Primitives that oneDNN keeps compiled: those of a training step and of the encoder's seven batch sizes, and then some.
/// With fewer it compiles at every step, and its code pages are a slow leak; its default of 1,024 grows by gigabytes when
/// shapes vary, which ours do not.
const ONEDNN_PRIMITIVES_MAX: &std::ffi::CStr = c"512";

/// Sets the process up for libtorch and chooses the device. The first thing that `main` does with libtorch, called once,
/// before any thread is started: the environment is written, and libtorch looks for CUDA only once. The log has started: what
/// was chosen is in it.
pub fn prepare(config: &DeviceConfig) -> Result<Device, TorchError> {
    if !shim::keep_freed_memory() {
        warn!(
            hint = "none: only speed suffers",
            "the allocator refused to keep freed memory; training steps will fault more pages in"
        );
    }
    if !shim::set_environment(c"ONEDNN_PRIMITIVE_CACHE_CAPACITY", ONEDNN_PRIMITIVES_MAX) {
        warn!(
            hint = "please report it: memory may grow slowly",
            "threads were started before libtorch was prepared; oneDNN's cache keeps its own bound"
        );
    }
    if config.kind == DeviceChoice::Cpu {
        info!(device = "cpu", "chose the device");
        return Ok(Device::Cpu);
    }
    match (open_cuda(config), config.kind) {
        (Ok(()), _) => {
            info!(device = "cuda:0", "chose the device");
            Ok(Device::Cuda(0))
        }
        (Err(reason), DeviceChoice::Cuda) => Err(TorchError::NoCuda(reason)),
        (Err(reason), _) => {
            warn!(
                device = "cpu",
                reason,
                hint = "learning is slower there; set device.libtorch_dir and check nvidia-smi, or say device.kind = \"cpu\"",
                "chose the device: CUDA can not be used"
            );
            Ok(Device::Cpu)
        }
    }
}

/// Opens libtorch's CUDA half; says why there is none.
fn open_cuda(config: &DeviceConfig) -> Result<(), String> {
    let library = match &config.libtorch_dir {
        Some(dir) => dir.join("libtorch_cuda.so"),
        None => PathBuf::from("libtorch_cuda.so"),
    };
    shim::open_library(&library).map_err(|error| match error {
        TorchError::Operation(text) => text,
        other => other.to_string(),
    })?;
    if tch::Cuda::is_available() {
        Ok(())
    } else {
        Err("libtorch finds no CUDA device".to_owned())
    }
}

/// Sets how many threads an operation called from this thread uses. Each thread that owns a model says it first: the
/// number belongs to the calling thread, and is the default of threads that say nothing.
pub fn set_threads(count: usize) {
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}

/// Whether costly operations on this device shall run in bfloat16.
pub fn uses_bf16(precision: Precision, device: Device) -> bool {
    match precision {
        Precision::Fp32 => false,
        Precision::Bf16 => true,
        // Every CUDA device that libtorch 2.11 supports well, and the CPUs that multiply bfloat16 natively.
        Precision::Auto => device.is_cuda() || cpu_multiplies_bf16(),
    }
}

/// Multiplies two matrices and compares the product with what it must be: the libtorch that was found works. Gives its
/// version.
pub fn self_test() -> Result<String, TorchError> {
    let ones = Tensor::f_ones([64, 64], (Kind::Float, Device::Cpu))?;
    let sum = ones.f_matmul(&ones)?.f_sum(Kind::Double)?.f_double_value(&[])?;
    if sum == 64.0 * 64.0 * 64.0 {
        Ok(format!("libtorch {}", LIBTORCH_VERSION))
    } else {
        Err(TorchError::Operation(format!(
            "a product of ones sums up to {sum}, not to {}",
            64 * 64 * 64
        )))
    }
}

/// Whether this processor multiplies bfloat16 natively.
#[cfg(target_arch = "x86_64")]
pub fn cpu_multiplies_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

/// Whether this processor multiplies bfloat16 natively.
#[cfg(not(target_arch = "x86_64"))]
pub fn cpu_multiplies_bf16() -> bool {
    false
}

#[cfg(test)]
mod tests;
