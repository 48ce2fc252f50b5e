//! The declarations of `shim.cpp` and their safe faces: the only unsafe code of the crate.
//! Invariant: a pointer that crosses here is a live tensor's, borrowed for the call, or an owned one that becomes a
//! [`Tensor`] at once; no C++ exception crosses, each function returns its text instead.
#![allow(unsafe_code)]

use std::borrow::Borrow;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

use tch::{Device, Kind, Tensor};

use super::TorchError;

/// A C++ tensor, only ever behind a pointer.
type Raw = torch_sys::C_tensor;

unsafe extern "C" {
    fn curiod_free_text(text: *mut c_char);
    fn curiod_keep_freed_memory(top_pad_bytes: c_int) -> c_int;
    fn curiod_set_environment(name: *const c_char, value: *const c_char) -> c_int;
    fn curiod_open_library(path: *const c_char) -> *mut c_char;
    fn curiod_adamw_step(
        params: *const *const Raw,
        means: *const *const Raw,
        squares: *const *const Raw,
        count: usize,
        step: *const Raw,
        rate: f64,
        beta1: f64,
        beta2: f64,
        decay: f64,
        epsilon: f64,
        clip: f64,
        out: *mut *mut Raw,
    ) -> *mut c_char;
    fn curiod_lerp(teacher: *const *const Raw, student: *const *const Raw, count: usize, weight: f64) -> *mut c_char;
    fn curiod_norm(tensors: *const *const Raw, count: usize, out: *mut *mut Raw) -> *mut c_char;
    fn curiod_drop_gradients(params: *const *const Raw, count: usize) -> *mut c_char;
    fn curiod_param_channels_last(param: *const Raw) -> *mut c_char;
    fn curiod_channels_last(tensor: *const Raw, out: *mut *mut Raw) -> *mut c_char;
    fn curiod_pack_matrix(matrix: *const Raw, bias: *const Raw, out: *mut *mut Raw) -> *mut c_char;
    fn curiod_multiply_packed(
        x: *const Raw,
        packed: *const Raw,
        bias: *const Raw,
        gelu: c_int,
        out: *mut *mut Raw,
    ) -> *mut c_char;
    fn curiod_autocast_enter(cuda: c_int, was_enabled: *mut c_int, was_type: *mut c_int) -> *mut c_char;
    fn curiod_autocast_leave(cuda: c_int, was_enabled: c_int, was_type: c_int) -> *mut c_char;
    fn curiod_set_deterministic(on: c_int) -> *mut c_char;
    fn curiod_tensor_over(
        data: *mut f32,
        sizes: *const i64,
        strides: *const i64,
        dims: usize,
        owner: *mut c_void,
        release: extern "C" fn(*mut c_void),
        out: *mut *mut Raw,
    ) -> *mut c_char;
}

/// The result that a returned text stands for: none is success.
fn checked(text: *mut c_char) -> Result<(), TorchError> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: a text that is not null is a NUL-terminated string that is ours to free, once, by curiod_free_text.
    let message = unsafe {
        let message = CStr::from_ptr(text).to_string_lossy().into_owned();
        curiod_free_text(text);
        message
    };
    Err(TorchError::from_libtorch(&message))
}

/// The tensor that a function handed out.
///
/// # Safety
/// `raw` must come from the `out` of a shim function that returned no text.
unsafe fn owned(raw: *mut Raw) -> Tensor {
    // SAFETY: such a pointer owns one reference and nobody else holds it.
    unsafe { Tensor::from_ptr(raw) }
}

fn raw<T: Borrow<Tensor>>(tensors: &[T]) -> Vec<*const Raw> {
    tensors.iter().map(|tensor| tensor.borrow().as_ptr()).collect()
}

/// Tells glibc to keep freed memory: a training step frees and takes the same gigabyte again and again, and each time
/// the kernel would zero it page by page. Returns whether every setting was taken.
pub(super) fn keep_freed_memory() -> bool {
    const TOP_PAD_BYTES: c_int = 64 << 20;
    const ALL: c_int = 0b1111;
    // SAFETY: mallopt may be called at any time.
    unsafe { curiod_keep_freed_memory(TOP_PAD_BYTES) == ALL }
}

/// Sets a variable of this process's environment, while it has one thread only; returns whether it was set.
pub(super) fn set_environment(name: &CStr, value: &CStr) -> bool {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    // SAFETY: both are NUL-terminated. Writing the environment races with other threads that read it: there are none,
    // and none can start while this one is here.
    alone && unsafe { curiod_set_environment(name.as_ptr(), value.as_ptr()) == 0 }
}

/// Opens a shared library for the whole process, so that its symbols and registrations are seen by libtorch.
pub(super) fn open_library(path: &Path) -> Result<(), TorchError> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| TorchError::from_libtorch("the library's path holds a NUL byte"))?;
    // SAFETY: the path is NUL-terminated. The library's initialisers run, which is what is asked for.
    checked(unsafe { curiod_open_library(path.as_ptr()) })
}

/// The constants of one AdamW update.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the running mean of the gradient.
    pub beta1: f64,
    /// Decay of the running mean of its square.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// Added to the root of the running square.
    pub epsilon: f64,
    /// The joint L2 norm that gradients are scaled down to.
    pub clip: f64,
}

/// One fused AdamW update (Loshchilov and Hutter 2019) of `params` by their gradients, clipped jointly; `step` ([], f32)
/// is counted. Where the norm is not finite nothing changes. Never waits for the device; returns the norm before
/// clipping ([], on the device). An error when a parameter has no gradient or shapes disagree.
pub fn adamw_step(
    params: &[Tensor],
    means: &[Tensor],
    squares: &[Tensor],
    step: &Tensor,
    constants: AdamWStep,
) -> Result<Tensor, TorchError> {
    assert!(
        params.len() == means.len() && params.len() == squares.len(),
        "one mean and one square for each parameter"
    );
    let (params, means, squares) = (raw(params), raw(means), raw(squares));
    let mut out = null_mut();
    let AdamWStep {
        rate,
        beta1,
        beta2,
        decay,
        epsilon,
        clip,
    } = constants;
    // SAFETY: three lists of `params.len()` live tensors, borrowed for the call.
    unsafe {
        checked(curiod_adamw_step(
            params.as_ptr(),
            means.as_ptr(),
            squares.as_ptr(),
            params.len(),
            step.as_ptr(),
            rate,
            beta1,
            beta2,
            decay,
            epsilon,
            clip,
            &mut out,
        ))?;
        Ok(owned(out))
    }
}

/// `teacher += weight * (student - teacher)` for all pairs, in place.
pub fn lerp(teacher: &[Tensor], student: &[Tensor], weight: f64) -> Result<(), TorchError> {
    assert_eq!(teacher.len(), student.len(), "one student for each teacher");
    let (teacher, student) = (raw(teacher), raw(student));
    // SAFETY: two lists of the same number of live tensors, borrowed for the call.
    checked(unsafe { curiod_lerp(teacher.as_ptr(), student.as_ptr(), teacher.len(), weight) })
}

/// The joint L2 norm of all tensors ([], on their device).
pub fn norm(tensors: &[Tensor]) -> Result<Tensor, TorchError> {
    let tensors = raw(tensors);
    let mut out = null_mut();
    // SAFETY: a list of live tensors, borrowed for the call.
    unsafe {
        checked(curiod_norm(tensors.as_ptr(), tensors.len(), &mut out))?;
        Ok(owned(out))
    }
}

/// Drops the parameters' gradients, so that the next backward pass writes them instead of adding to them.
pub fn drop_gradients(params: &[Tensor]) -> Result<(), TorchError> {
    let params = raw(params);
    // SAFETY: a list of live tensors, borrowed for the call.
    checked(unsafe { curiod_drop_gradients(params.as_ptr(), params.len()) })
}

/// Lays a 4-dimensional parameter out as [N, H, W, C] in memory, in place; its shape stays [N, C, H, W].
pub fn param_channels_last(param: &Tensor) -> Result<(), TorchError> {
    // SAFETY: a live tensor, borrowed for the call.
    checked(unsafe { curiod_param_channels_last(param.as_ptr()) })
}

/// The same 4-dimensional tensor, laid out as [N, H, W, C] in memory; its shape stays [N, C, H, W].
pub fn channels_last(tensor: &Tensor) -> Result<Tensor, TorchError> {
    let mut out = null_mut();
    // SAFETY: a live tensor, borrowed for the call.
    unsafe {
        checked(curiod_channels_last(tensor.as_ptr(), &mut out))?;
        Ok(owned(out))
    }
}

/// A matrix and a bias in the order in which oneDNN multiplies by them, so that no product packs them anew. On a CPU; it is for
/// use, not for training.
#[derive(Debug)]
pub struct PackedMatrix {
    packed: Tensor,
    bias: Tensor,
}

impl PackedMatrix {
    /// Packs a matrix [outputs, inputs] and a bias `[outputs]`, both float32 or both bfloat16. An error where this machine's oneDNN
    /// has no such product.
    pub fn new(matrix: &Tensor, bias: &Tensor) -> Result<Self, TorchError> {
        let mut out = null_mut();
        // SAFETY: two live tensors, borrowed for the call.
        unsafe {
            checked(curiod_pack_matrix(matrix.as_ptr(), bias.as_ptr(), &mut out))?;
            Ok(Self {
                packed: owned(out),
                bias: bias.shallow_clone(),
            })
        }
    }

    /// The matrix in rows again.
    pub fn matrix(&self) -> Result<Tensor, TorchError> {
        Ok(self.packed.f_to_dense(None::<Kind>, false)?)
    }

    /// [.., inputs] to [.., outputs], in the matrix's kind; through GELU (Hendrycks and Gimpel 2016, by the error function) where
    /// `gelu`.
    pub fn multiply(&self, x: &Tensor, gelu: bool) -> Result<Tensor, TorchError> {
        let x = x.f_to_kind(self.bias.kind())?;
        let mut out = null_mut();
        // SAFETY: three live tensors, borrowed for the call.
        unsafe {
            checked(curiod_multiply_packed(
                x.as_ptr(),
                self.packed.as_ptr(),
                self.bias.as_ptr(),
                c_int::from(gelu),
                &mut out,
            ))?;
            Ok(owned(out))
        }
    }
}

/// While it lives, this thread's convolutions and matrix products are computed in bfloat16; put back on drop, also when
/// the thread unwinds. Not `Send`: the setting belongs to the thread.
#[derive(Debug)]
pub struct Bf16Autocast {
    cuda: c_int,
    was_enabled: c_int,
    was_type: c_int,
    thread: std::marker::PhantomData<*const ()>,
}

impl Bf16Autocast {
    /// Starts it for operations on this device.
    pub fn enter(device: Device) -> Result<Self, TorchError> {
        let cuda = c_int::from(device.is_cuda());
        let (mut was_enabled, mut was_type) = (0, 0);
        // SAFETY: two live integers to write to.
        checked(unsafe { curiod_autocast_enter(cuda, &mut was_enabled, &mut was_type) })?;
        Ok(Self {
            cuda,
            was_enabled,
            was_type,
            thread: std::marker::PhantomData,
        })
    }
}

impl Drop for Bf16Autocast {
    fn drop(&mut self) {
        // SAFETY: the values are the ones that curiod_autocast_enter gave. A failure is not reported: there is nobody to
        // report to, and the function only assigns thread-local values.
        let _ = checked(unsafe { curiod_autocast_leave(self.cuda, self.was_enabled, self.was_type) });
    }
}

/// Makes libtorch refuse operations whose result may differ from run to run, or use their slower equals.
pub fn set_deterministic(on: bool) -> Result<(), TorchError> {
    // SAFETY: sets one flag.
    checked(unsafe { curiod_set_deterministic(c_int::from(on)) })
}

/// The float tensor of this shape and these strides (in elements) over a buffer, without a copy. The buffer is dropped
/// when the tensor's last user is gone, which may be on another thread. An error when the shape does not fit into it.
pub fn tensor_over<B>(buffer: B, sizes: &[i64], strides: &[i64]) -> Result<Tensor, TorchError>
where
    B: AsMut<[f32]> + Send + 'static,
{
    extern "C" fn release<B>(owner: *mut c_void) {
        // SAFETY: `owner` is the box that `tensor_over` gave away, released once.
        drop(unsafe { Box::from_raw(owner.cast::<B>()) });
    }
    let mut owner = Box::new(buffer);
    let data = (*owner).as_mut();
    let fits = sizes.len() == strides.len() && sizes.iter().chain(strides).all(|&n| n >= 0);
    let last: i64 = sizes
        .iter()
        .zip(strides)
        .map(|(size, stride)| (size - 1) * stride)
        .sum();
    if !fits || sizes.contains(&0) || usize::try_from(last).map_or(true, |last| last >= data.len()) {
        return Err(TorchError::from_libtorch("the shape does not fit into the buffer"));
    }
    let data = data.as_mut_ptr();
    let mut out = null_mut();
    // SAFETY: every element that the shape reaches is inside the buffer, which lives in the box until `release`;
    // a box's content does not move when the box is given away.
    unsafe {
        let owner = Box::into_raw(owner).cast::<c_void>();
        checked(curiod_tensor_over(
            data,
            sizes.as_ptr(),
            strides.as_ptr(),
            sizes.len(),
            owner,
            release::<B>,
            &mut out,
        ))?;
        Ok(owned(out))
    }
}
