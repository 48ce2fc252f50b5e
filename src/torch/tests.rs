//! The room's promises, against real libtorch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

struct Counted(Vec<f32>, Arc<AtomicUsize>);

impl AsMut<[f32]> for Counted {
    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_buffer_is_released_once_when_the_last_tensor_over_it_is_gone() {
    let drops = Arc::new(AtomicUsize::new(0));
    let tensor = tensor_over(Counted(vec![1.0, 2.0, 3.0, 4.0], drops.clone()), &[2, 2], &[2, 1]).unwrap();
    let view = tensor.get(1);
    drop(tensor);
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    assert_eq!(Vec::<f32>::try_from(&view).unwrap(), [3.0, 4.0]);
    drop(view);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_shape_that_leaves_the_buffer_is_refused_and_the_buffer_released() {
    let drops = Arc::new(AtomicUsize::new(0));
    for (sizes, strides) in [([2, 3], [3, 1]), ([2, 2], [4, 1]), ([-1, 2], [1, 1]), ([0, 2], [1, 1])] {
        assert!(tensor_over(Counted(vec![0.0; 5], drops.clone()), &sizes, &strides).is_err());
    }
    assert_eq!(drops.load(Ordering::SeqCst), 4);
}

#[test]
fn autocast_computes_products_in_bf16_and_ends_with_its_guard() {
    let a = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
    let inside = {
        let _guard = Bf16Autocast::enter(Device::Cpu).unwrap();
        a.matmul(&a).kind()
    };
    assert_eq!((inside, a.matmul(&a).kind()), (Kind::BFloat16, Kind::Float));
}

#[test]
fn autocast_ends_when_the_thread_unwinds() {
    let a = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
    let caught = std::panic::catch_unwind(|| {
        let _guard = Bf16Autocast::enter(Device::Cpu).unwrap();
        panic!("on purpose");
    });
    assert!(caught.is_err());
    assert_eq!(a.matmul(&a).kind(), Kind::Float);
}

#[test]
fn lerp_moves_every_teacher_towards_its_student() {
    let teacher = [
        Tensor::zeros([2], (Kind::Float, Device::Cpu)),
        Tensor::ones([1], (Kind::Float, Device::Cpu)),
    ];
    let student = [
        Tensor::ones([2], (Kind::Float, Device::Cpu)),
        Tensor::ones([1], (Kind::Float, Device::Cpu)),
    ];
    lerp(&teacher, &student, 0.25).unwrap();
    assert_eq!(Vec::<f32>::try_from(&teacher[0]).unwrap(), [0.25, 0.25]);
    assert_eq!(Vec::<f32>::try_from(&teacher[1]).unwrap(), [1.0]);
}

#[test]
fn an_error_is_one_line_without_a_cpp_stack() {
    let error = lerp(
        &[Tensor::zeros([2], (Kind::Float, Device::Cpu))],
        &[Tensor::zeros([3], (Kind::Float, Device::Cpu))],
        0.5,
    )
    .unwrap_err()
    .to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("size"), "{error}");
}

#[test]
fn cuda_that_is_asked_for_and_absent_is_an_error_that_names_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let config = DeviceConfig {
        kind: DeviceChoice::Cuda,
        libtorch_dir: Some(dir.path().to_owned()),
    };
    let error = prepare(&config).unwrap_err().to_string();
    assert!(error.contains("libtorch_cuda.so"), "{error}");
    let auto = DeviceConfig {
        kind: DeviceChoice::Auto,
        ..config
    };
    assert_eq!(prepare(&auto).unwrap(), Device::Cpu);
}

#[test]
fn a_packed_matrix_multiplies_as_the_matrix_does_and_gives_it_back() {
    let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let (matrix, bias) = (random(&[24, 40]), random(&[24]));
    let largest = |gap: Tensor| gap.abs().max().double_value(&[]);
    for (kind, allowed) in [(Kind::Float, 1e-4), (Kind::BFloat16, 0.2)] {
        let (matrix, bias) = (matrix.to_kind(kind), bias.to_kind(kind));
        // Of what products are made of here; elsewhere oneDNN may have no such product, and the plain one is used.
        let packed = PackedMatrix::new(&matrix, &bias).unwrap();
        assert_eq!(largest(packed.matrix().unwrap() - &matrix), 0.0);
        for shape in [&[1, 40][..], &[7, 40], &[2, 5, 40]] {
            let x = random(shape);
            let plain = x.to_kind(kind).linear(&matrix, Some(&bias));
            let product = packed.multiply(&x, false).unwrap();
            assert_eq!((product.kind(), product.size()), (kind, plain.size()));
            assert!(
                largest((&product - &plain).to_kind(Kind::Float)) < allowed,
                "{kind:?} {shape:?}"
            );
            let curved = packed.multiply(&x, true).unwrap();
            let gap = largest((curved - plain.gelu("none")).to_kind(Kind::Float));
            assert!(gap < allowed, "{kind:?} {shape:?}: {gap}");
        }
    }
    let packed = PackedMatrix::new(&matrix, &bias).unwrap();
    assert!(
        packed.multiply(&random(&[2, 39]), false).is_err(),
        "a row of another length"
    );
}
