//! What was drawn, read back from the text.

use std::collections::BTreeMap;

use super::*;

/// An element of an SVG document.
#[derive(Debug)]
struct Element {
    tag: String,
    attributes: BTreeMap<String, String>,
    text: String,
}

/// The elements of a document, which must be well-formed.
fn parse(svg: &str) -> Vec<Element> {
    let plain = |text: &str| {
        let named = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&apos;", "'"),
            ("&amp;", "&"),
        ];
        named
            .iter()
            .fold(text.to_owned(), |text, (name, sign)| text.replace(name, sign))
    };
    let (mut elements, mut open) = (Vec::<Element>::new(), Vec::<usize>::new());
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(elements[open.pop().unwrap()].tag, closed);
            continue;
        }
        let (name, mut rest) = tag.trim_end_matches('/').split_once(' ').unwrap();
        let mut attributes = BTreeMap::new();
        while let Some((key, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"').unwrap();
            attributes.insert(key.trim().to_owned(), plain(value));
            rest = after;
        }
        assert_eq!(rest.trim(), "", "in <{tag}>");
        if !tag.ends_with('/') {
            open.push(elements.len());
        }
        elements.push(Element {
            tag: name.to_owned(),
            attributes,
            text: plain(text.trim()),
        });
    }
    assert!(open.is_empty() && elements[0].tag == "svg");
    elements
}

fn texts(svg: &str) -> Vec<String> {
    let elements = parse(svg);
    elements
        .into_iter()
        .filter(|it| it.tag == "text")
        .map(|it| it.text)
        .collect()
}

/// The points of what is drawn in a colour, but for the legend's thicker strokes.
fn strokes(svg: &str, colour: RGBAColor) -> Vec<Vec<(i32, i32)>> {
    let (red, green, blue) = colour.rgb();
    let colour = format!("#{red:02X}{green:02X}{blue:02X}");
    let place = |pair: &str| {
        let (x, y) = pair.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    parse(svg)
        .iter()
        .filter(|it| it.tag == "polyline" && it.attributes["stroke"] == colour)
        .filter(|it| it.attributes["stroke-width"] != "3")
        .map(|it| it.attributes["points"].split_whitespace().map(place).collect())
        .collect()
}

const COUNT: Axis<'_> = Axis {
    label: "steps",
    unit: Unit::Number,
};

fn panel<'a>(lines: Vec<Line<'a>>) -> Panel<'a> {
    Panel {
        y: Axis {
            label: "value",
            unit: Unit::Number,
        },
        lines,
        marks: None,
    }
}

fn line(values: impl IntoIterator<Item = f64>) -> Line<'static> {
    Line {
        name: "a line",
        points: (0..).map(f64::from).zip(values).collect(),
    }
}

fn one(values: impl IntoIterator<Item = f64>) -> String {
    lines("a plot", COUNT, &[panel(vec![line(values)])]).unwrap()
}

#[test]
fn a_line_goes_through_its_points() {
    let drawn = strokes(&one([0.0, 10.0, 5.0]), colour(0));
    let [points] = drawn.as_slice() else {
        panic!("{drawn:?}")
    };
    let [(x0, y0), (x1, y1), (x2, y2)] = points[..] else {
        panic!("{points:?}")
    };
    assert!((x1 - x0 - (x2 - x1)).abs() <= 1 && x1 - x0 > 300, "{points:?}");
    assert!(y0 - y1 > 300 && (y0 - y2 - (y2 - y1)).abs() <= 1, "{points:?}");
}

#[test]
fn names_labels_and_titles_are_written_as_they_are() {
    let name = "a <b> & \"c\"\u{1}'d'";
    let lines_of = |name| Line {
        name,
        ..line([1.0, 2.0])
    };
    let marked = Panel {
        marks: Some(Marks {
            name: "alarms",
            at: vec![0.5],
        }),
        ..panel(vec![lines_of(name), lines_of("other")])
    };
    let svg = lines("novelty < 1 & more", COUNT, &[marked]).unwrap();
    let texts = texts(&svg);
    for said in [
        "a <b> & \"c\" 'd'",
        "other",
        "alarms",
        "novelty < 1 & more",
        "steps",
        "value",
    ] {
        assert_eq!(
            texts.iter().filter(|text| *text == said).count(),
            1,
            "{said}: {texts:?}"
        );
    }
    assert!(!svg.contains('\u{1}'));
}

#[test]
fn panels_share_the_level_axis_and_lie_below_each_other() {
    let late = Line {
        name: "late",
        points: vec![(50.0, -1e-5), (100.0, 1e-5)],
    };
    let svg = lines("two", COUNT, &[panel(vec![line([3.0; 51])]), panel(vec![late])]).unwrap();
    let drawn = strokes(&svg, colour(0));
    let [upper, lower] = drawn.as_slice() else {
        panic!("{drawn:?}")
    };
    assert!((upper.last().unwrap().0 - lower[0].0).abs() <= 1);
    let upper_most = lower.iter().map(|point| point.1).min().unwrap();
    assert!(upper.iter().all(|point| point.1 < upper_most));
    assert_eq!(texts(&svg).iter().filter(|text| *text == "steps").count(), 1);
}

#[test]
fn what_is_missing_is_a_gap_and_a_value_alone_is_a_dot() {
    let svg = one([1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, 2.0, 1.0]);
    let drawn = strokes(&svg, colour(0));
    assert_eq!(drawn.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(parse(&svg).iter().filter(|it| it.tag == "circle").count(), 1);
}

#[test]
fn a_long_series_is_thinned_and_keeps_its_peaks() {
    let wave = |at: i32| match at {
        77_777 => 50.0,
        12_345 => -50.0,
        _ => (f64::from(at) / 7.0).sin(),
    };
    let long: Vec<f64> = (0..100_000).map(wave).collect();
    let svg = one(long);
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
    let drawn = strokes(&svg, colour(0));
    let high = |line: &[(i32, i32)]| {
        let ys = || line.iter().map(|point| point.1);
        (ys().min().unwrap(), ys().max().unwrap())
    };
    assert_eq!(high(&drawn[0]), high(&strokes(&one([50.0, -50.0]), colour(0))[0]));
    assert!(drawn[0].is_sorted_by_key(|point| point.0) && drawn[0].len() <= 4 * 901);
}

#[test]
fn a_long_series_with_holes_everywhere_stays_small() {
    let holes = (0..100_000).map(|at| if at % 2 == 0 { f64::NAN } else { f64::from(at % 10) });
    let marked = Panel {
        marks: Some(Marks {
            name: "holes",
            at: (0..100_000).map(f64::from).collect(),
        }),
        ..panel(vec![line(holes)])
    };
    let svg = lines("holes", COUNT, &[marked]).unwrap();
    assert!(svg.len() < 300_000, "{} bytes", svg.len());
    assert_eq!(strokes(&svg, colour(0)).len(), 1);

    let dots = (0..1_800).map(|at| if at % 2 == 0 { f64::NAN } else { f64::from(at % 7) });
    let svg = one(dots);
    assert!(svg.len() < 100_000, "{} bytes", svg.len());

    let night = (0..100_000).map(|at| if (40_000..60_000).contains(&at) { f64::NAN } else { 1.0 });
    assert_eq!(strokes(&one(night), colour(0)).len(), 2);
}

#[test]
fn marks_are_upright_lines_at_their_places() {
    let marked = Panel {
        marks: Some(Marks {
            name: "alarms",
            at: vec![2.0, 0.0, f64::NAN, 2.0],
        }),
        ..panel(vec![line([1.0, 5.0, 1.0])])
    };
    let svg = lines("marked", COUNT, &[marked]).unwrap();
    let points = &strokes(&svg, colour(0))[0];
    let marks = strokes(&svg, mark_colour());
    let of_panel: Vec<_> = marks
        .iter()
        .filter(|mark| mark.len() == 2 && (mark[0].1 - mark[1].1).abs() > 300)
        .filter(|mark| [points[0].0, points[2].0].contains(&mark[0].0))
        .collect();
    assert_eq!(of_panel.len(), 2, "{marks:?}");
}

#[test]
fn times_are_labelled_in_utc_at_round_moments() {
    let (hour, start) = (3_600_000.0, 1_397_114_100_000.0);
    let labels = |span: f64| {
        let times = Axis {
            label: "time",
            unit: Unit::Time,
        };
        let points = vec![(start, 1.0), (start + span, 2.0)];
        let svg = lines("t", times, &[panel(vec![Line { name: "n", points }])]).unwrap();
        texts(&svg)
    };
    for (span, expected) in [
        (20.0, "07:15:00.005"),
        (20.0 * 1_000.0, "07:15:05"),
        (4.0 * hour, "04-10 08:00"),
        (24.0 * hour, "04-10 18:00"),
        (240.0 * hour, "2014-04-12"),
        (24.0 * 300.0 * hour, "2014-07"),
        (24.0 * 3_653.0 * hour, "2016"),
        (24.0 * 365_250.0 * hour, "2200"),
    ] {
        let labels = labels(span);
        assert!(labels.iter().any(|label| label == expected), "{span}: {labels:?}");
    }
}

#[test]
fn an_axis_has_a_few_round_labels_whatever_its_numbers_are() {
    let labels = |values: [f64; 2]| {
        let ticks = Ticks::new(
            padded(extent(values.into_iter()).unwrap(), Unit::Number),
            Unit::Number,
            8,
        );
        use plotters::coord::ranged1d::{BoldPoints, Ranged, ValueFormatter};
        let at = ticks.key_points(BoldPoints(10));
        at.iter().map(|value| ticks.format_ext(value)).collect::<Vec<_>>()
    };
    assert_eq!(labels([-1.0, 1.0]), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    assert_eq!(labels([0.0, 0.0]), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    for values in [
        [7.0, 7.0],
        [0.0, 1e-12],
        [-3.0, 1e9],
        [f64::MIN, f64::MAX],
        [5e-324, 1e-323],
        [1e15, 1e15 + 2.0],
        [-0.5, 1_234.5],
    ] {
        let labels = labels(values);
        assert!((2..=10).contains(&labels.len()), "{values:?}: {labels:?}");
        let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len(), "{values:?}: {labels:?}");
        assert!(labels.iter().all(|label| label.len() <= 16), "{values:?}: {labels:?}");
    }
}

#[test]
fn what_has_nothing_to_show_is_an_empty_plot() {
    let nothing = [
        vec![],
        vec![panel(vec![])],
        vec![panel(vec![line([])])],
        vec![panel(vec![line([f64::NAN, f64::NAN])])],
    ];
    for panels in nothing {
        for unit in [Unit::Number, Unit::Share, Unit::Time] {
            let svg = lines("nothing", Axis { label: "x", unit }, &panels).unwrap();
            assert!(strokes(&svg, colour(0)).is_empty());
        }
    }
    parse(&bars("nothing", "x", COUNT, &[]).unwrap());
}

#[test]
fn any_numbers_make_a_plot() {
    for values in [
        vec![7.0],
        vec![0.0, f64::MAX, f64::MIN],
        vec![5e-324, -5e-324],
        vec![f64::INFINITY, f64::NEG_INFINITY, 1.0],
    ] {
        for unit in [Unit::Number, Unit::Share, Unit::Time] {
            let points = values.iter().map(|value| (*value, *value)).collect();
            let svg = lines(
                "any",
                Axis { label: "x", unit },
                &[panel(vec![Line { name: "n", points }])],
            );
            let labels = texts(&svg.unwrap());
            assert!(labels.len() < 40, "{values:?}: {labels:?}");
        }
    }
}

#[test]
fn points_out_of_order_are_drawn_in_order() {
    let points = (0..50_000).map(|at| (f64::from(at * 7_919 % 50_000), 1.0)).collect();
    let svg = lines("order", COUNT, &[panel(vec![Line { name: "n", points }])]).unwrap();
    let drawn = strokes(&svg, colour(0));
    assert!(drawn.len() == 1 && drawn[0].is_sorted() && svg.len() < 100_000);
}

#[test]
fn many_names_go_on_in_the_next_row_above_the_panel() {
    let names: Vec<String> = (0..20).map(|number| format!("variable number {number}")).collect();
    let all = names
        .iter()
        .map(|name| Line {
            name,
            ..line([0.0, 1.0])
        })
        .collect();
    let svg = lines("many", COUNT, &[panel(all)]).unwrap();
    let highest = strokes(&svg, colour(0))[0].iter().map(|point| point.1).min().unwrap();
    for text in parse(&svg)
        .iter()
        .filter(|it| it.tag == "text" && names.contains(&it.text))
    {
        assert!(text.attributes["y"].parse::<i32>().unwrap() < highest);
        assert!(text.attributes["x"].parse::<i32>().unwrap() < WIDTH_PX as i32 - 100);
    }
}

#[test]
fn bars_are_as_high_as_their_values() {
    let share = Axis {
        label: "share",
        unit: Unit::Share,
    };
    let svg = bars(
        "bars",
        "experience",
        share,
        &[("one", &[0.5, 0.25]), ("two", &[1.0, 0.0])],
    )
    .unwrap();
    let high = |number: usize| -> Vec<i32> {
        let (red, green, blue) = colour(number).rgb();
        let colour = format!("#{red:02X}{green:02X}{blue:02X}");
        parse(&svg)
            .iter()
            .filter(|it| it.tag == "rect" && it.attributes["fill"] == colour)
            .map(|it| it.attributes["height"].parse().unwrap())
            .collect()
    };
    let (one, two) = (high(0), high(1));
    assert!(
        (one[0] - 2 * one[1]).abs() <= 2 && (two[0] - 2 * one[0]).abs() <= 2,
        "{one:?} {two:?}"
    );
    assert!(two[1] <= 1);
    assert!(texts(&svg).iter().any(|text| text == "100 %"));
}
