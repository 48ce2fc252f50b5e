// What tch does not reach in libtorch: fused and foreach operations, packed matrices, bf16 autocast, memory formats, tensors over memory
// that Rust owns, and the allocator's settings.
// Always true: no C++ exception leaves a function. Each returns nullptr, or a text that the caller frees by
// curiod_free_text. A tensor handed in is borrowed; a tensor handed out by `out` is the caller's.

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <dlfcn.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace {

using Tensors = std::vector<at::Tensor>;

Tensors list(at::Tensor *const *tensors, size_t count) {
  Tensors all;
  all.reserve(count);
  for (size_t i = 0; i < count; i++) all.push_back(*tensors[i]);
  return all;
}

Tensors gradients(at::Tensor *const *params, size_t count) {
  Tensors all;
  all.reserve(count);
  for (size_t i = 0; i < count; i++) {
    if (!params[i]->grad().defined()) throw std::runtime_error("a parameter has no gradient");
    all.push_back(params[i]->grad());
  }
  return all;
}

template <typename Body>
char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception that is not a std::exception");
  }
}

// oneDNN's products by a matrix in its own order, which PyTorch's compiler uses and its headers do not declare.
using PackMatrix = at::Tensor(const at::Tensor &, std::optional<c10::SymInt>);
using MultiplyPacked = at::Tensor(const at::Tensor &, const at::Tensor &, const std::optional<at::Tensor> &,
                                  std::string_view, c10::List<std::optional<at::Scalar>>,
                                  std::optional<std::string_view>);

at::Tensor multiply_packed(const at::Tensor &x, const at::Tensor &packed, const at::Tensor &bias, bool gelu) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                       .typed<MultiplyPacked>();
  return op.call(x, packed, bias, gelu ? "gelu" : "none", c10::List<std::optional<at::Scalar>>(), "none");
}

c10::DeviceType device_type(int cuda) { return cuda ? c10::DeviceType::CUDA : c10::DeviceType::CPU; }

}  // namespace

extern "C" {

void curiod_free_text(char *text) { std::free(text); }

// Keeps freed memory for the next step instead of giving it back to the kernel and faulting it in again.
// Returns one bit for each setting that was taken: 1 no mmap, 2 trim threshold, 4 top pad, 8 one arena.
int curiod_keep_freed_memory(int top_pad_bytes) {
  int taken = 0;
  // glibc refuses an M_MMAP_THRESHOLD above 32 MiB, so large blocks are kept from mmap by their number.
  if (mallopt(M_MMAP_MAX, 0)) taken |= 1;
  if (mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max())) taken |= 2;
  if (mallopt(M_TOP_PAD, top_pad_bytes)) taken |= 4;
  // A second arena is made of 64 MiB heaps, which are unmapped whenever they fall empty.
  if (mallopt(M_ARENA_MAX, 1)) taken |= 8;
  return taken;
}

int curiod_set_environment(const char *name, const char *value) { return setenv(name, value, 1); }

char *curiod_open_library(const char *path) {
  return guarded([&] {
    if (!dlopen(path, RTLD_NOW | RTLD_GLOBAL)) throw std::runtime_error(dlerror());
  });
}

// One AdamW update of `params` by their gradients, which are first scaled down to a joint L2 norm of at most `clip`.
// `step` is a float tensor, counted here. Where the norm is not finite nothing is changed. Nothing waits for the device:
// `out` is the norm before clipping, on the device.
char *curiod_adamw_step(at::Tensor *const *params, at::Tensor *const *means, at::Tensor *const *squares, size_t count,
                        at::Tensor *step, double rate, double beta1, double beta2, double decay, double epsilon,
                        double clip, at::Tensor **out) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    auto grads = gradients(params, count);
    auto norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads, 2)), 2);
    auto scale = (norm / clip).clamp_min(1.0);
    auto broken = at::isfinite(norm).logical_not().to(at::kFloat);
    step->add_(1 - broken);
    Tensors steps(count, *step);
    at::_fused_adamw_(list(params, count), grads, list(means, count), list(squares, count), {}, steps, rate, beta1, beta2,
                      decay, epsilon, /*amsgrad=*/false, /*maximize=*/false, scale, broken);
    *out = new at::Tensor(norm);
  });
}

// teacher += weight * (student - teacher), for all pairs.
char *curiod_lerp(at::Tensor *const *teacher, at::Tensor *const *student, size_t count, double weight) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    at::_foreach_lerp_(list(teacher, count), list(student, count), weight);
  });
}

char *curiod_norm(at::Tensor *const *tensors, size_t count, at::Tensor **out) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    *out = new at::Tensor(at::linalg_vector_norm(at::stack(at::_foreach_norm(list(tensors, count), 2)), 2));
  });
}

// Drops the gradients, as `optimizer.zero_grad(set_to_none=True)` does: the next backward writes instead of adding.
char *curiod_drop_gradients(at::Tensor *const *params, size_t count) {
  return guarded([&] {
    for (size_t i = 0; i < count; i++) params[i]->mutable_grad().reset();
  });
}

// Lays the parameter out as [N, H, W, C] in memory, in place.
char *curiod_param_channels_last(at::Tensor *param) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    param->set_data(param->contiguous(at::MemoryFormat::ChannelsLast));
  });
}

char *curiod_channels_last(at::Tensor *tensor, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(tensor->contiguous(at::MemoryFormat::ChannelsLast)); });
}

// Enters bf16 autocast on this thread. `was_enabled` and `was_type` are what curiod_autocast_leave puts back.
// The matrix [outputs, inputs] in oneDNN's own order; tried with a row of zeros, so that one that can not be used is known
// here.
char *curiod_pack_matrix(at::Tensor *matrix, at::Tensor *bias, at::Tensor **out) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    static auto op = c10::Dispatcher::singleton()
                         .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                         .typed<PackMatrix>();
    auto packed = op.call(matrix->contiguous(), std::nullopt);
    multiply_packed(at::zeros({1, matrix->size(1)}, matrix->options()), packed, *bias, false);
    *out = new at::Tensor(packed);
  });
}

// x [.., inputs] times a packed matrix, plus the bias, through GELU (by the error function) where that is asked for.
char *curiod_multiply_packed(at::Tensor *x, at::Tensor *packed, at::Tensor *bias, int gelu, at::Tensor **out) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    *out = new at::Tensor(multiply_packed(*x, *packed, *bias, gelu != 0));
  });
}

char *curiod_autocast_enter(int cuda, int *was_enabled, int *was_type) {
  return guarded([&] {
    auto device = device_type(cuda);
    *was_enabled = at::autocast::is_autocast_enabled(device);
    *was_type = static_cast<int>(at::autocast::get_autocast_dtype(device));
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::increment_nesting();
  });
}

char *curiod_autocast_leave(int cuda, int was_enabled, int was_type) {
  return guarded([&] {
    auto device = device_type(cuda);
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device, was_enabled);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(was_type));
  });
}

char *curiod_set_deterministic(int on) {
  return guarded([&] { at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/false); });
}

// A float tensor over memory that somebody else owns; `release(owner)` is called once, when the last user of the tensor
// is gone or when this fails.
char *curiod_tensor_over(float *data, const int64_t *sizes, const int64_t *strides, size_t dims, void *owner,
                         void (*release)(void *), at::Tensor **out) {
  std::unique_ptr<void, void (*)(void *)> owned(owner, release);
  return guarded([&] {
    *out = new at::Tensor(at::for_blob(data, at::IntArrayRef(sizes, dims))
                              .strides(at::IntArrayRef(strides, dims))
                              .options(at::TensorOptions().dtype(at::kFloat))
                              .context(owned.release(), release)
                              .make_tensor());
  });
}

}  // extern "C"
