//! Views against torchvision's numbers (tests/python/augment_golden.py prints them), and the draws' promises.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    crop: [u32; 4],
    flip: bool,
    order: String,
    grey: bool,
    view: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn golden_picture() -> ImageTile {
    let rgb = (0..12 * 9 * 3u32)
        .map(|index| ((index * index * 7 + index * 31) % 256) as u8)
        .collect();
    ImageTile {
        width: 12,
        height: 9,
        rgb,
    }
}

fn view_of(case: &Golden) -> View {
    let [left, top, width, height] = case.crop;
    let operations: Vec<_> = case
        .order
        .chars()
        .map(|letter| match letter {
            'b' => JitterOperation::Brightness,
            'c' => JitterOperation::Contrast,
            's' => JitterOperation::Saturation,
            _ => JitterOperation::Hue,
        })
        .collect();
    let jitter = operations.try_into().ok().map(|order| Jitter {
        order,
        brightness: 1.3,
        contrast: 0.7,
        saturation: 1.4,
        hue: -0.08,
    });
    View {
        crop: Crop {
            left,
            top,
            width,
            height,
        },
        flip: case.flip,
        jitter,
        grey: case.grey,
        sigma: None,
    }
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn views_are_torchvisions() {
    let mut renderer = Renderer::new(4);
    for (number, case) in golden().iter().enumerate() {
        let mut out = [0.0; 48];
        renderer.render(&view_of(case), &golden_picture(), &mut out);
        let distance = furthest(&out, &case.view);
        assert!(distance < 1e-4, "case {number} is {distance} away");
    }
}

#[test]
fn a_view_is_a_function_of_seed_step_position_and_number() {
    let recipe = Recipe::for_px(64);
    let draw = |seed, step, position, view| recipe.draw(48, 80, &mut view_rng(seed, step, position, view));
    assert_eq!(draw(1, 2, 3, 0), draw(1, 2, 3, 0));
    let others = [draw(2, 2, 3, 0), draw(1, 3, 3, 0), draw(1, 2, 4, 0), draw(1, 2, 3, 1)];
    assert!(others.iter().all(|other| *other != draw(1, 2, 3, 0)));
}

#[test]
fn every_crop_lies_in_its_picture_whatever_the_pictures_shape() {
    for (width, height) in [(1, 1), (1, 64), (300, 2), (64, 64), (128, 64), (7, 5)] {
        for step in 0..200 {
            let view = Recipe::for_px(32).draw(width, height, &mut view_rng(0, step, 0, 0));
            let Crop {
                left,
                top,
                width: w,
                height: h,
            } = view.crop;
            assert!(
                w > 0 && h > 0 && left + w <= width && top + h <= height,
                "{:?} in {width}x{height}",
                view.crop
            );
        }
    }
}

#[test]
fn a_view_of_any_picture_is_finite_and_within_the_range_of_pixels() {
    for (width, height, px) in [
        (1u16, 1u16, 32),
        (1, 64, 32),
        (300, 2, 96),
        (64, 64, 64),
        (224, 448, 224),
    ] {
        let tile = ImageTile {
            width,
            height,
            rgb: (0..usize::from(width) * usize::from(height) * 3)
                .map(|i| (i * 131 % 256) as u8)
                .collect(),
        };
        let (recipe, mut renderer) = (Recipe::for_px(px), Renderer::new(px));
        let mut out = vec![f32::NAN; (px * px * 3) as usize];
        for step in 0..20 {
            let view = recipe.draw(width.into(), height.into(), &mut view_rng(0, step, 0, 0));
            renderer.render(&view, &tile, &mut out);
            assert!(out.iter().all(|v| (-2.2..2.7).contains(v)), "{view:?}");
        }
    }
}

#[test]
fn draws_happen_as_often_as_the_recipe_says() {
    let recipe = Recipe::for_px(224);
    let views: Vec<_> = (0..20_000)
        .map(|step| recipe.draw(64, 64, &mut view_rng(0, step, 0, 0)))
        .collect();
    let share = |is: &dyn Fn(&View) -> bool| views.iter().filter(|view| is(view)).count() as f64 / views.len() as f64;
    let shares = [
        share(&|v| v.flip),
        share(&|v| v.jitter.is_some()),
        share(&|v| v.grey),
        share(&|v| v.sigma.is_some()),
    ];
    for (found, asked) in shares.iter().zip([0.5, 0.8, 0.2, 0.5]) {
        assert!((found - asked).abs() < 0.02, "{found} for {asked}");
    }
    assert!(Recipe::for_px(64).blur == 0.0);
}

#[test]
fn a_blur_keeps_an_even_picture_and_spreads_a_point_without_loss() {
    let mut renderer = Renderer::new(96);
    let (mut spare, mut line) = (vec![0.0; 96 * 96], Vec::new());
    let mut plane = vec![0.5; 96 * 96];
    resample::blur(&mut plane, 96, 1.5, &mut spare, &mut line);
    assert!(plane.iter().all(|v| (v - 0.5).abs() < 1e-5));
    let mut point = vec![0.0; 96 * 96];
    point[48 * 96 + 48] = 1.0;
    resample::blur(&mut point, 96, 1.5, &mut spare, &mut line);
    let peak = 1.0 / (std::f32::consts::TAU * 1.5 * 1.5);
    assert!((point.iter().sum::<f32>() - 1.0).abs() < 1e-4 && (point[48 * 96 + 48] / peak - 1.0).abs() < 0.02);
    // The same through the renderer: a blurred edge has values between its two sides.
    let tile = ImageTile {
        width: 2,
        height: 1,
        rgb: vec![0, 0, 0, 255, 255, 255],
    };
    let crop = Crop {
        left: 0,
        top: 0,
        width: 2,
        height: 1,
    };
    let view = View {
        crop,
        flip: false,
        jitter: None,
        grey: false,
        sigma: Some(2.0),
    };
    let mut out = vec![0.0; 96 * 96 * 3];
    renderer.render(&view, &tile, &mut out);
    assert!(out[0] < out[48 * 3] && out[48 * 3] < out[95 * 3]);
}

#[test]
fn the_device_renders_the_same_views() {
    let tiles: Vec<_> = [(48u16, 40u16), (30, 56)]
        .iter()
        .map(|&(width, height)| ImageTile {
            width,
            height,
            rgb: (0..usize::from(width) * usize::from(height) * 3)
                .map(|i| (i * i * 7 % 251) as u8)
                .collect(),
        })
        .collect();
    let recipe = Recipe {
        jitter: 0.9,
        grey: 0.3,
        ..Recipe::for_px(96)
    };
    let views: Vec<View> = (0..24)
        .map(|n| {
            let tile = &tiles[n % 2];
            recipe.draw(tile.width.into(), tile.height.into(), &mut view_rng(5, 0, n, 0))
        })
        .collect();
    assert!(views.iter().any(|view| view.sigma.is_some()) && views.iter().any(|view| view.grey));
    let found = Canvases::new(&tiles).render(&views, 96, tch::Device::Cpu).unwrap();
    assert_eq!(found.size(), [24, 3, 96, 96]);
    let mut renderer = Renderer::new(96);
    for (n, view) in views.iter().enumerate() {
        let mut expected = vec![0.0; 96 * 96 * 3];
        renderer.render(view, &tiles[n % 2], &mut expected);
        let found = Vec::<f32>::try_from(found.get(n as i64).permute([1, 2, 0]).contiguous().view(-1)).unwrap();
        let distance = furthest(&found, &expected);
        assert!(distance < 2e-3, "view {n} is {distance} away: {view:?}");
    }
}
