//! What a network is, before it has a weight: the choice of the configuration, made.
//! Invariant: two networks of one spec have the same variables, by name, shape and order.

use serde::{Deserialize, Serialize};
use tch::{Device, nn};

use super::bert::{self, Bert, BertPlan};
use super::pretrained::PretrainedBert;
use super::text::Tokenizer;
use super::{
    Encoder, ModelError, Network, PIXEL_MEAN, PIXEL_STD, PatchTransformer, Resnet, StateNetwork, Vit, resnet, vit,
};
use crate::config::{EncoderKind, LearningConfig, ObjectiveKind};
use crate::sample::Modality;

/// A network for pictures that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// A narrow ResNet of one block a stage, for CPUs.
    ResnetTiny,
    /// ResNet-18 with GroupNorm.
    Resnet18,
    /// ResNet-50 with GroupNorm.
    Resnet50,
    /// ViT-Ti.
    VitTiny,
    /// ViT-S.
    VitSmall,
    /// ViT-B.
    VitBase,
}

/// Everything that decides an encoder's variables and its input: no choice is left open in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EncoderSpec {
    /// Of pictures.
    Image(ImageSpec),
    /// Of texts.
    Text(TextSpec),
    /// Of series.
    Series(SeriesSpec),
    /// Of transitions.
    Transition(TransitionSpec),
}

/// An encoder of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSpec {
    /// The network.
    pub architecture: Architecture,
    /// Pixels of each side of the square it sees; also of the shorter side at which pictures are kept.
    pub image_px: u32,
}

/// An encoder of texts: a BERT, whose features are the mean of its tokens'.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextSpec {
    /// The network.
    #[serde(flatten)]
    pub bert: BertPlan,
    /// Tokens of one text that it sees, at most, `[CLS]` and `[SEP]` included.
    pub tokens_max: u32,
}

/// An encoder of series: a transformer over patches, whose features are the mean of its tokens'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeriesSpec {
    /// Steps of one patch of one variable, which is one token.
    pub patch_steps: u32,
    /// Variables that are told apart; what is more counts as the last.
    pub channels_max: u32,
    /// Numbers of a token.
    pub hidden: u32,
    /// Layers.
    pub layers: u32,
    /// Attention heads.
    pub heads: u32,
}

/// An encoder of transitions: a network for states. A transition's embedding is that of its state and that of the next, one
/// after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransitionSpec {
    /// Numbers of a state; shorter ones are filled up with zeros.
    pub state_dims: u32,
    /// Choices of a discrete action and numbers of a real one, at most.
    pub actions: u32,
    /// Numbers of a hidden layer.
    pub width: u32,
    /// Numbers of a state's features.
    pub features: u32,
}

impl EncoderSpec {
    /// What the configuration asks for on this device, for this kind of data: `auto` and 0 are replaced by the defaults of the
    /// device, the objective and the network. An error where the folder to continue from decides it and holds no BERT.
    pub fn resolve(modality: Modality, config: &LearningConfig, device: Device) -> Result<Self, ModelError> {
        Ok(match modality {
            Modality::Image => Self::Image(ImageSpec::resolve(config, device)),
            Modality::Text => Self::Text(TextSpec::resolve(config, device)?),
            Modality::Series => Self::Series(SeriesSpec::resolve(config, device)),
            Modality::Transition => Self::Transition(TransitionSpec::resolve(config)),
        })
    }

    /// The kind of data that it is for.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Text(_) => Modality::Text,
            Self::Series(_) => Modality::Series,
            Self::Transition(_) => Modality::Transition,
        }
    }

    /// Builds the network; its variables, zero until [`initialise`](super::initialise)d or loaded, are added below `path`.
    pub fn build(&self, path: &nn::Path) -> Network {
        match self {
            Self::Image(spec) => Network::Pictures(spec.build(path)),
            Self::Text(spec) => Network::Texts(Bert::new(path, &spec.bert)),
            Self::Series(spec) => Network::Series(PatchTransformer::new(path, spec)),
            Self::Transition(spec) => Network::States(StateNetwork::new(path, spec)),
        }
    }

    /// Samples of one step: what the configuration asks for, or the network's own number: fewer for those that are slow
    /// on a CPU, and for those that keep much for the backward pass.
    pub fn batch(&self, config: &LearningConfig) -> usize {
        match (config.batch, self) {
            (0, Self::Image(spec)) => match spec.architecture {
                Architecture::Resnet18 | Architecture::VitSmall => 256,
                _ => 128,
            },
            (0, Self::Text(_) | Self::Series(_)) => 64,
            (0, Self::Transition(_)) => 128,
            (asked, _) => asked,
        }
    }

    /// The share of the configured learning rate that it learns at: a tenth where it continues from weights that have learnt
    /// (`learning.init`), so that they are not forgotten before the stream has taught anything; a fifth for a BERT of twelve layers,
    /// whose norms behind each sum let it collapse at more than 1e-4 (Xiong et al. 2020; Devlin et al. 2019 learnt at 1e-4).
    pub fn rate_share(&self, config: &LearningConfig) -> f64 {
        match self {
            _ if config.init.is_some() => 0.1,
            Self::Text(spec) if spec.bert.layers >= 12 => 0.2,
            _ => 1.0,
        }
    }

    /// Dimensions of its embeddings.
    pub fn dim(&self) -> i64 {
        match self {
            Self::Image(spec) => spec.dim(),
            Self::Text(spec) => spec.bert.hidden,
            Self::Series(spec) => spec.hidden.into(),
            Self::Transition(spec) => 2 * i64::from(spec.features),
        }
    }

    /// The `config.json` from which timm, or Hugging Face's transformers, build the same network; one of texts with its
    /// vocabulary.
    pub fn config_json(&self, tokenizer: Option<&Tokenizer>) -> serde_json::Value {
        match self {
            Self::Image(spec) => spec.timm_config(),
            Self::Text(spec) => spec.bert.config_json(tokenizer.map_or(0, Tokenizer::pad)),
            Self::Series(spec) => own_config("curiod_patch_transformer", self.dim(), spec),
            Self::Transition(spec) => own_config("curiod_state_network", self.dim(), spec),
        }
    }

    /// Whether its variables are the other's, so that weights of the one are weights of the other. How much of a sample is seen
    /// makes no other variables but in a ViT, which has a place for each patch.
    pub fn has_variables_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Image(one), Self::Image(other)) => {
                one.architecture == other.architecture && (one.image_px == other.image_px || !one.is_of_one_size())
            }
            (Self::Text(one), Self::Text(other)) => one.bert == other.bert,
            (Self::Series(one), Self::Series(other)) => one == other,
            (Self::Transition(one), Self::Transition(other)) => one == other,
            _ => false,
        }
    }

    /// Pixels at which samples of it are kept; 0 where they are no pictures.
    pub fn image_px(&self) -> u32 {
        match self {
            Self::Image(spec) => spec.image_px,
            Self::Text(_) | Self::Series(_) | Self::Transition(_) => 0,
        }
    }

    /// Numbers that it is shown of one sample, about: pixels, tokens, or numbers of states.
    pub fn input_len(&self) -> usize {
        match self {
            Self::Image(spec) => (spec.image_px as usize).pow(2),
            Self::Text(spec) => spec.tokens_max as usize,
            // A window of eight variables.
            Self::Series(spec) => 1_024 / spec.patch_steps.max(1) as usize,
            Self::Transition(spec) => 2 * spec.state_dims as usize,
        }
    }
}

/// The `config.json` of a network that no other library has: its name, and what decides its variables.
fn own_config(architecture: &str, dim: i64, spec: &impl Serialize) -> serde_json::Value {
    serde_json::json!({ "architecture": architecture, "num_features": dim, "model_args": spec })
}

impl SeriesSpec {
    fn resolve(config: &LearningConfig, device: Device) -> Self {
        let is_small = match config.encoder {
            EncoderKind::PatchSmall => true,
            EncoderKind::Auto => device.is_cuda(),
            _ => false,
        };
        let (hidden, layers, heads) = if is_small { (256, 6, 8) } else { (96, 3, 4) };
        Self {
            patch_steps: 8,
            channels_max: 64,
            hidden,
            layers,
            heads,
        }
    }
}

impl TransitionSpec {
    fn resolve(config: &LearningConfig) -> Self {
        Self {
            state_dims: config.state_dims_max,
            actions: config.actions_max,
            width: 128,
            features: 64,
        }
    }
}

impl From<ImageSpec> for EncoderSpec {
    fn from(spec: ImageSpec) -> Self {
        Self::Image(spec)
    }
}

impl TextSpec {
    fn resolve(config: &LearningConfig, device: Device) -> Result<Self, ModelError> {
        let vocab = i64::from(config.vocab_size);
        let bert = match (&config.init, config.encoder) {
            (Some(dir), EncoderKind::Auto) => PretrainedBert::plan(dir)?,
            (_, EncoderKind::BertMini) => bert::MINI.with_vocab(vocab),
            (_, EncoderKind::BertBase) => bert::BASE.with_vocab(vocab),
            (_, EncoderKind::Auto) if device.is_cuda() => bert::BASE.with_vocab(vocab),
            _ => bert::TINY.with_vocab(vocab),
        };
        let own = if bert.hidden > bert::MINI.hidden { 256 } else { 128 };
        let tokens_max = match config.tokens_max {
            0 => own,
            asked => asked,
        };
        Ok(Self {
            bert,
            tokens_max: tokens_max.min(bert.positions as u32),
        })
    }
}

impl ImageSpec {
    /// What the configuration asks for on this device.
    pub fn resolve(config: &LearningConfig, device: Device) -> Self {
        let needs_vit = config.objective == ObjectiveKind::Mae;
        let architecture = match config.encoder {
            EncoderKind::ResnetTiny => Architecture::ResnetTiny,
            EncoderKind::Resnet18 => Architecture::Resnet18,
            EncoderKind::Resnet50 => Architecture::Resnet50,
            EncoderKind::VitTiny => Architecture::VitTiny,
            EncoderKind::VitSmall => Architecture::VitSmall,
            EncoderKind::VitBase => Architecture::VitBase,
            _ if needs_vit && device.is_cuda() => Architecture::VitSmall,
            _ if needs_vit => Architecture::VitTiny,
            _ if device.is_cuda() => Architecture::Resnet18,
            _ => Architecture::ResnetTiny,
        };
        let image_px = match (config.image_px, architecture) {
            (0, Architecture::ResnetTiny | Architecture::VitTiny) => 64,
            (0, _) => 224,
            (asked, _) => asked,
        };
        Self { architecture, image_px }
    }

    /// Builds the network; its variables, zero until [`initialise`](super::initialise)d or loaded, are added below `path`.
    pub fn build(&self, path: &nn::Path) -> Box<dyn Encoder> {
        match self.plan() {
            Plan::Resnet(plan) => Box::new(Resnet::new(path, &plan)),
            Plan::Vit(plan) => Box::new(Vit::new(path, &plan, self.image_px)),
        }
    }

    /// Builds the network as [`build`](Self::build) does, for who must show it a part of a picture's patches. None where
    /// it is no ViT.
    pub fn build_vit(&self, path: &nn::Path) -> Option<Vit> {
        match self.plan() {
            Plan::Resnet(_) => None,
            Plan::Vit(plan) => Some(Vit::new(path, &plan, self.image_px)),
        }
    }

    /// Dimensions of its embeddings.
    pub fn dim(&self) -> i64 {
        match self.plan() {
            Plan::Resnet(plan) => plan.dim(),
            Plan::Vit(plan) => plan.dim,
        }
    }

    /// Places along each side of its [map](Encoder::map).
    pub fn map_side(&self) -> i64 {
        match self.plan() {
            Plan::Resnet(plan) => plan.map_side(self.image_px.into()),
            Plan::Vit(_) => i64::from(self.image_px / vit::patch_px(self.image_px)),
        }
    }

    /// Whether its variables depend on the size of its pictures: a ViT has a place for each patch.
    pub fn is_of_one_size(&self) -> bool {
        matches!(self.plan(), Plan::Vit(_))
    }

    /// The `config.json` from which timm builds the same network.
    pub fn timm_config(&self) -> serde_json::Value {
        let px = self.image_px;
        let (architecture, model_args, first_conv, classifier) = match self.plan() {
            Plan::Resnet(plan) => (plan.architecture, plan.timm_args(), plan.first_conv(), "fc"),
            Plan::Vit(plan) => (plan.architecture, vit::timm_args(px), "patch_embed.proj", "head"),
        };
        let pretrained_cfg = serde_json::json!({
            "custom_load": false,
            "input_size": [3, px, px],
            "fixed_input_size": self.is_of_one_size(),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": PIXEL_MEAN.map(short_f64),
            "std": PIXEL_STD.map(short_f64),
            "num_classes": 0,
            "pool_size": null,
            "first_conv": first_conv,
            "classifier": classifier,
        });
        serde_json::json!({
            "architecture": architecture,
            "num_classes": 0,
            "num_features": self.dim(),
            "global_pool": "avg",
            "model_args": model_args,
            "pretrained_cfg": pretrained_cfg,
        })
    }

    pub(super) fn plan(&self) -> Plan {
        match self.architecture {
            Architecture::ResnetTiny => Plan::Resnet(resnet::TINY),
            Architecture::Resnet18 => Plan::Resnet(resnet::RESNET18),
            Architecture::Resnet50 => Plan::Resnet(resnet::RESNET50),
            Architecture::VitTiny => Plan::Vit(vit::TINY),
            Architecture::VitSmall => Plan::Vit(vit::SMALL),
            Architecture::VitBase => Plan::Vit(vit::BASE),
        }
    }
}

/// The shape of a network, of either family.
pub(super) enum Plan {
    Resnet(resnet::Plan),
    Vit(vit::Plan),
}

/// The double whose shortest decimal is the float's: 0.485, not 0.48500001430511475.
pub(super) fn short_f64(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}
