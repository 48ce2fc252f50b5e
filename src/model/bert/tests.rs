//! What this room promises of a BERT: names, numbers, padding, learning.

use tch::nn::VarStore;
use tch::{Device, Kind, Reduction, Tensor};

use super::*;
use crate::model::{ModelError, initialise, weights};
use crate::rng;

/// A network that is built in no time.
const SMALL: BertPlan = BertPlan {
    layers: 2,
    hidden: 32,
    heads: 2,
    intermediate: 64,
    vocab: 50,
    positions: 40,
    types: 2,
    layer_norm_eps: 1e-12,
};

impl Tokens {
    /// Texts of one part each, filled up with `pad` to the longest of them.
    fn of(texts: &[&[i64]], pad: i64) -> Self {
        let len = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let shape = [texts.len() as i64, len as i64];
        let places =
            |text: &[i64]| -> Vec<i64> { text.iter().copied().chain(std::iter::repeat(pad)).take(len).collect() };
        let ids: Vec<i64> = texts.iter().flat_map(|text| places(text)).collect();
        let is_full = texts.iter().all(|text| text.len() == len);
        let mask = (!is_full).then(|| {
            let mask: Vec<bool> = texts
                .iter()
                .flat_map(|text| (0..len).map(|place| place < text.len()))
                .collect();
            Tensor::from_slice(&mask).view(shape)
        });
        let ids = Tensor::from_slice(&ids).view(shape);
        Self {
            types: ids.zeros_like(),
            ids,
            mask,
            packing: None,
        }
    }

    /// The same, packed.
    fn packed_of(texts: &[&[i64]], pad: i64) -> Self {
        let len = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let is_token = texts.iter().flat_map(|text| (0..len).map(|place| place < text.len()));
        Self::of(texts, pad).packed(&is_token.collect::<Vec<_>>()).unwrap()
    }
}

fn network(plan: &BertPlan, seed: u64) -> (VarStore, Bert) {
    let variables = VarStore::new(Device::Cpu);
    let bert = Bert::new(&variables.root(), plan);
    initialise(&variables, seed).unwrap();
    (variables, bert)
}

/// Texts of these lengths, a function of the seed.
fn texts(lens: &[usize], vocab: usize, seed: u64) -> Vec<Vec<i64>> {
    let mut rng = rng::for_step(seed, 0, 0);
    let mut text = |len: &usize| (0..*len).map(|_| rng::below(&mut rng, vocab) as i64).collect();
    lens.iter().map(&mut text).collect()
}

fn slices(texts: &[Vec<i64>]) -> Vec<&[i64]> {
    texts.iter().map(Vec::as_slice).collect()
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// The least cosine of two tables' rows.
fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    Tensor::cosine_similarity(&a.to_kind(Kind::Double), &b.to_kind(Kind::Double), 1, 1e-12)
        .min()
        .double_value(&[])
}

#[test]
fn variables_are_named_as_in_hugging_face() {
    let variables = VarStore::new(Device::Cpu);
    let (root, plan) = (variables.root(), BertPlan { layers: 1, ..SMALL });
    let network = &root / "bert";
    Bert::new(&network, &plan);
    MaskedHead::new(&root, &plan);
    NextHead::new(&network, &root, &plan);
    let mut found: Vec<(String, Vec<i64>)> = variables
        .variables()
        .into_iter()
        .map(|(name, variable)| (name, variable.size()))
        .collect();
    found.sort();
    // `BertForPreTraining(config).named_parameters()` of transformers 4.57, sorted; the tied decoder is not named there.
    let expected: [(&str, &[i64]); 30] = [
        ("bert.embeddings.LayerNorm.bias", &[32]),
        ("bert.embeddings.LayerNorm.weight", &[32]),
        ("bert.embeddings.position_embeddings.weight", &[40, 32]),
        ("bert.embeddings.token_type_embeddings.weight", &[2, 32]),
        ("bert.embeddings.word_embeddings.weight", &[50, 32]),
        ("bert.encoder.layer.0.attention.output.LayerNorm.bias", &[32]),
        ("bert.encoder.layer.0.attention.output.LayerNorm.weight", &[32]),
        ("bert.encoder.layer.0.attention.output.dense.bias", &[32]),
        ("bert.encoder.layer.0.attention.output.dense.weight", &[32, 32]),
        ("bert.encoder.layer.0.attention.self.key.bias", &[32]),
        ("bert.encoder.layer.0.attention.self.key.weight", &[32, 32]),
        ("bert.encoder.layer.0.attention.self.query.bias", &[32]),
        ("bert.encoder.layer.0.attention.self.query.weight", &[32, 32]),
        ("bert.encoder.layer.0.attention.self.value.bias", &[32]),
        ("bert.encoder.layer.0.attention.self.value.weight", &[32, 32]),
        ("bert.encoder.layer.0.intermediate.dense.bias", &[64]),
        ("bert.encoder.layer.0.intermediate.dense.weight", &[64, 32]),
        ("bert.encoder.layer.0.output.LayerNorm.bias", &[32]),
        ("bert.encoder.layer.0.output.LayerNorm.weight", &[32]),
        ("bert.encoder.layer.0.output.dense.bias", &[32]),
        ("bert.encoder.layer.0.output.dense.weight", &[32, 64]),
        ("bert.pooler.dense.bias", &[32]),
        ("bert.pooler.dense.weight", &[32, 32]),
        ("cls.predictions.bias", &[50]),
        ("cls.predictions.transform.LayerNorm.bias", &[32]),
        ("cls.predictions.transform.LayerNorm.weight", &[32]),
        ("cls.predictions.transform.dense.bias", &[32]),
        ("cls.predictions.transform.dense.weight", &[32, 32]),
        ("cls.seq_relationship.bias", &[2]),
        ("cls.seq_relationship.weight", &[2, 32]),
    ];
    let expected: Vec<_> = expected.map(|(name, size)| (name.to_owned(), size.to_vec())).into();
    assert_eq!(found, expected);
}

#[test]
fn a_seed_decides_the_first_weights_and_they_are_the_papers() {
    let (one, _) = network(&SMALL, 1);
    assert_eq!(
        weights::export(&one).unwrap(),
        weights::export(&network(&SMALL, 1).0).unwrap()
    );
    assert_ne!(
        weights::export(&one).unwrap(),
        weights::export(&network(&SMALL, 2).0).unwrap()
    );
    for (name, variable) in one.variables() {
        let (mean, std) = (
            variable.mean(Kind::Float).double_value(&[]),
            variable.std(false).double_value(&[]),
        );
        let (wanted_mean, wanted_std) = match name.as_str() {
            _ if variable.dim() == 2 => (0.0, 0.02),
            name if name.ends_with("LayerNorm.weight") => (1.0, 0.0),
            _ => (0.0, 0.0),
        };
        assert!(
            (mean - wanted_mean).abs() < 0.006 && (std - wanted_std).abs() < 0.003,
            "{name}: {mean} {std}"
        );
    }
}

#[test]
fn a_plan_comes_back_from_its_config_and_other_networks_are_refused_by_name() {
    for plan in [TINY, MINI, BASE].map(|plan| plan.with_vocab(100)) {
        assert_eq!(BertPlan::parse(&plan.config_json(0)), Ok(plan));
    }
    for (name, value) in [
        ("model_type", serde_json::json!("roberta")),
        ("hidden_act", serde_json::json!("gelu_new")),
        ("position_embedding_type", serde_json::json!("relative_key")),
        ("is_decoder", serde_json::json!(true)),
        ("add_cross_attention", serde_json::json!(true)),
        ("num_attention_heads", serde_json::json!(3)),
        ("num_hidden_layers", serde_json::json!(0)),
        ("hidden_size", serde_json::json!(null)),
        ("layer_norm_eps", serde_json::json!("small")),
    ] {
        let mut config = SMALL.config_json(0);
        config[name] = value.clone();
        let error = BertPlan::parse(&config).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{name} = {value}: {error}");
    }
}

/// The store's weights as a file in which every variable was renamed, and with one more.
fn renamed(variables: &VarStore, rename: impl Fn(&str) -> String, more: Option<&str>) -> Vec<u8> {
    let other = VarStore::new(Device::Cpu);
    let _no_grad = tch::no_grad_guard();
    let add = |name: &str, value: &Tensor| {
        let parts: Vec<&str> = name.split('.').collect();
        let path = parts[..parts.len() - 1]
            .iter()
            .fold(other.root(), |path, part| path / *part);
        let mut new = path.zeros(parts[parts.len() - 1], &value.size());
        new.copy_(value);
    };
    for (name, variable) in variables.variables() {
        add(&rename(&name), &variable);
    }
    if let Some(name) = more {
        add(name, &Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    }
    weights::export(&other).unwrap()
}

#[test]
fn weights_load_from_a_model_around_the_network_and_from_old_files() {
    let (one, _) = network(&SMALL, 1);
    let expected = weights::export(&one).unwrap();
    let plain = |name: &str| name.to_owned();
    let old = |name: &str| {
        format!("bert.{name}")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    for (file, left_out) in [
        (expected.clone(), vec![]),
        (
            renamed(&one, plain, Some("embeddings.position_ids")),
            vec!["embeddings.position_ids"],
        ),
        (
            renamed(&one, old, Some("cls.predictions.bias")),
            vec!["cls.predictions.bias"],
        ),
        (
            renamed(&one, old, Some("bert.pooler.dense.bias")),
            vec!["bert.pooler.dense.bias"],
        ),
    ] {
        let (other, _) = network(&SMALL, 2);
        assert_eq!(load(&other, &file).unwrap(), left_out);
        assert_eq!(weights::export(&other).unwrap(), expected);
    }
}

#[test]
fn weights_that_do_not_fit_are_named_and_change_nothing() {
    let (one, _) = network(&SMALL, 1);
    let (other, _) = network(&SMALL, 2);
    let before = weights::export(&other).unwrap();
    let misspelt = renamed(
        &one,
        |name| name.replace("layer.1.output.dense.bias", "layer.1.output.dense.bios"),
        None,
    );
    let more = renamed(&one, str::to_owned, Some("embeddings.more"));
    let longer = weights::export(&network(&BertPlan { positions: 41, ..SMALL }, 1).0).unwrap();
    for (file, named) in [
        (
            misspelt.as_slice(),
            "missing: encoder.layer.1.output.dense.bias; unknown: encoder.layer.1.output.dense.bios",
        ),
        (&more, "unknown: embeddings.more"),
        (
            &longer,
            "of another shape or type: embeddings.position_embeddings.weight: F32 [41, 32] in the file, F32 [40, 32]",
        ),
        (b"rubbish", ""),
        (&before[..before.len() - 1], ""),
    ] {
        let error = load(&other, file).unwrap_err();
        assert!(
            matches!(&error, ModelError::Weights(text) if text.contains(named)),
            "{error} names not {named}"
        );
    }
    assert_eq!(weights::export(&other).unwrap(), before);
}

#[test]
fn a_texts_vectors_are_the_same_alone_and_padded() {
    let (_, bert) = network(&SMALL, 1);
    let texts = texts(&[5, 1, 12, 40, 5, 7], 50, 3);
    let _no_grad = tch::no_grad_guard();
    for (bf16, allowed) in [(false, 2e-6), (true, 0.06)] {
        let _autocast = bf16.then(|| crate::torch::Bf16Autocast::enter(Device::Cpu).unwrap());
        let padded = bert.hidden(&Tokens::of(&slices(&texts), 9));
        for (row, text) in (0..).zip(&texts) {
            let alone = bert.hidden(&Tokens::of(&[text], 0)).get(0);
            let gap = apart(&padded.get(row).narrow(0, 0, text.len() as i64), &alone);
            assert!(gap < allowed, "{gap} of {} tokens padded, bf16 {bf16}", text.len());
        }
    }
}

#[test]
fn a_settled_network_gives_packed_texts_the_same_vectors() {
    let (_, mut bert) = network(&SMALL, 1);
    let texts = texts(&[5, 1, 12, 40, 5, 7], 50, 3);
    let _no_grad = tch::no_grad_guard();
    let expected = bert.hidden(&Tokens::of(&slices(&texts), 9));
    for (bf16, allowed) in [(false, 2e-6), (true, 0.06)] {
        bert.settle(if bf16 { Kind::BFloat16 } else { Kind::Float });
        let _autocast = bf16.then(|| crate::torch::Bf16Autocast::enter(Device::Cpu).unwrap());
        let packed = bert.hidden(&Tokens::packed_of(&slices(&texts), 9));
        assert_eq!(packed.size(), expected.size());
        for (row, text) in (0..).zip(&texts) {
            let of_tokens = |all: &Tensor| all.get(row).narrow(0, 0, text.len() as i64);
            let gap = apart(&of_tokens(&packed), &of_tokens(&expected));
            assert!(gap < allowed, "{gap} of {} tokens, bf16 {bf16}", text.len());
        }
        let whole = bert.hidden(&Tokens::packed_of(&[&texts[3], &texts[3]], 0));
        assert!(apart(&whole.get(1), &expected.get(3)) < allowed);
    }
}

#[test]
fn a_row_without_a_token_is_finite_and_its_mean_is_zero() {
    let (_, bert) = network(&SMALL, 1);
    for bf16 in [false, true] {
        let _autocast = bf16.then(|| crate::torch::Bf16Autocast::enter(Device::Cpu).unwrap());
        let tokens = Tokens::of(&[&[1, 2, 3], &[]], 0);
        let hidden = bert.hidden(&tokens);
        assert!(bool::try_from(hidden.isfinite().all()).unwrap());
        let mean = mean_pooled(&hidden, tokens.mask.as_ref());
        assert_eq!(
            (mean.kind(), mean.get(1).abs().max().double_value(&[])),
            (Kind::Float, 0.0)
        );
    }
}

/// The words of each text that are asked for, and what they are.
struct Hidden {
    tokens: Tokens,
    places: Tensor,
    words: Tensor,
}

/// Texts of a grammar: a start, then words each of which is the one before it times 3 plus 1, modulo 40, from any first
/// word; every fourth place is hidden (word 45).
fn sentences(step: u64) -> Hidden {
    let mut rng = rng::for_step(7, step, 0);
    let (mut seen, mut places, mut words) = (Vec::new(), Vec::new(), Vec::new());
    let lens: Vec<usize> = (0..32).map(|_| 8 + rng::below(&mut rng, 5)).collect();
    let longest = lens.iter().max().copied().unwrap();
    for (text, len) in lens.into_iter().enumerate() {
        let mut word = rng::below(&mut rng, 40) as i64;
        let first = 1 + rng::below(&mut rng, 4);
        let mut tokens = vec![44];
        for place in 1..len {
            if place % 4 == first % 4 {
                places.push((text * longest + place) as i64);
                words.push(word);
            }
            tokens.push(if place % 4 == first % 4 { 45 } else { word });
            word = (word * 3 + 1) % 40;
        }
        seen.push(tokens);
    }
    Hidden {
        tokens: Tokens::of(&slices(&seen), 46),
        places: Tensor::from_slice(&places),
        words: Tensor::from_slice(&words),
    }
}

fn masked_loss(bert: &Bert, head: &MaskedHead, hidden: &Hidden) -> Tensor {
    let vectors = bert
        .hidden(&hidden.tokens)
        .flatten(0, 1)
        .index_select(0, &hidden.places);
    let scores = head.forward(&vectors, bert.words());
    let kind = if scores.kind() == Kind::BFloat16 {
        Kind::Float
    } else {
        scores.kind()
    };
    scores
        .to_kind(kind)
        .cross_entropy_loss(&hidden.words, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}

/// The mean loss of the last 20 of 200 steps; of equal guesses it is ln 50 = 3.9.
fn learn(bf16: bool) -> f64 {
    let variables = VarStore::new(Device::Cpu);
    let bert = Bert::new(&variables.root(), &SMALL);
    let head = MaskedHead::new(&variables.root(), &SMALL);
    initialise(&variables, 1).unwrap();
    let mut adamw = crate::learn::AdamW::new(&[("encoder", &variables)], 0.01).unwrap();
    let mut last = 0.0;
    for step in 0..200 {
        let loss = {
            let _autocast = bf16.then(|| crate::torch::Bf16Autocast::enter(Device::Cpu).unwrap());
            masked_loss(&bert, &head, &sentences(step))
        };
        adamw.drop_gradients().unwrap();
        loss.backward();
        let _ = adamw.update(1e-2 * (step.min(20) as f64 / 20.0)).unwrap();
        if step >= 180 {
            last += loss.double_value(&[]) / 20.0;
        }
    }
    last
}

#[test]
fn it_learns_a_grammar_from_hidden_words() {
    for bf16 in [false, true] {
        let loss = learn(bf16);
        println!("bf16 {bf16}: loss {loss:.4}");
        assert!(loss < 1.3, "{loss} with bf16 {bf16}, where a guess costs 3.9");
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let mut variables = VarStore::new(Device::Cpu);
    let bert = Bert::new(&variables.root(), &SMALL);
    let head = MaskedHead::new(&variables.root(), &SMALL);
    initialise(&variables, 1).unwrap();
    variables.double();
    let hidden = sentences(0);
    masked_loss(&bert, &head, &hidden).backward();
    let _no_grad = tch::no_grad_guard();
    for (name, mut variable) in variables.variables() {
        let gradient = variable.grad().copy();
        let before = variable.copy();
        // Along the gradient itself its slope is its length: the direction in which an error would show most.
        let length = gradient.norm().double_value(&[]);
        // A key's bias moves every score of a query alike, which a softmax does not see.
        if name.ends_with("key.bias") {
            assert!(length < 1e-9, "{name}: {length}");
            continue;
        }
        let along = &gradient / length;
        let mut at = |distance: f64| {
            variable.copy_(&(&before + &along * distance));
            masked_loss(&bert, &head, &hidden).double_value(&[])
        };
        let slope = (at(1e-4) - at(-1e-4)) / 2e-4;
        at(0.0);
        assert!(
            (slope - length).abs() < 1e-4 * length + 1e-8,
            "{name}: slope {slope}, gradient {length}"
        );
    }
}

#[test]
fn bfloat16_gives_nearly_what_float32_gives() {
    let (variables, bert) = network(&SMALL, 1);
    let head = MaskedHead::new(&variables.root(), &SMALL);
    initialise(&variables, 1).unwrap();
    let gradients = |bf16: bool| {
        let loss = {
            let _autocast = bf16.then(|| crate::torch::Bf16Autocast::enter(Device::Cpu).unwrap());
            masked_loss(&bert, &head, &sentences(0))
        };
        loss.backward();
        let mut named: Vec<_> = variables
            .variables()
            .into_iter()
            .filter(|(name, _)| !name.ends_with("key.bias"))
            .collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let all: Vec<Tensor> = named
            .iter()
            .map(|(_, variable)| variable.grad().flatten(0, -1).copy())
            .collect();
        named.iter().for_each(|(_, variable)| {
            let _ = variable.grad().zero_();
        });
        (loss.double_value(&[]), Tensor::cat(&all, 0).unsqueeze(0))
    };
    let ((exact, exact_gradient), (rounded, rounded_gradient)) = (gradients(false), gradients(true));
    assert!((exact - rounded).abs() < 0.01, "{exact} and {rounded}");
    assert!(cosine(&exact_gradient, &rounded_gradient) > 0.999);
}

#[test]
fn the_next_sentence_head_reads_the_first_place() {
    let variables = VarStore::new(Device::Cpu);
    let bert = Bert::new(&(variables.root() / "bert"), &SMALL);
    let next = NextHead::new(&(variables.root() / "bert"), &variables.root(), &SMALL);
    initialise(&variables, 1).unwrap();
    let hidden = bert.hidden(&Tokens::of(&[&[1, 2, 3], &[4, 5, 6]], 0));
    let scores = next.forward(&hidden);
    assert_eq!(scores.size(), [2, 2]);
    let changed = Tensor::cat(&[hidden.narrow(1, 0, 1), hidden.narrow(1, 1, 2) * 2.0], 1);
    assert_eq!(apart(&next.forward(&changed), &scores), 0.0);
}
