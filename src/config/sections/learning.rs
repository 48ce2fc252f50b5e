//! `[learning]`: the network, its proxy task and how it is trained.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sample::Modality;

/// The number format of the costly operations of a training step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16 where the hardware multiplies it natively, else float32.
    #[default]
    Auto,
    /// float32.
    Fp32,
    /// bfloat16 autocast; weights stay float32.
    Bf16,
}

/// The network that is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncoderKind {
    /// Of pictures `resnet_tiny` on the CPU, `resnet18` on CUDA, for `mae` `vit_tiny` and `vit_small`; of texts the network of
    /// the folder `init`, else `bert_tiny` on the CPU, `bert_base` on CUDA; of series `patch_tiny` on the CPU, `patch_small` on
    /// CUDA; of transitions `mlp`.
    #[default]
    Auto,
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
    /// BERT of 2 layers of 128 (Turc et al. 2019).
    BertTiny,
    /// BERT of 4 layers of 256.
    BertMini,
    /// BERT of 12 layers of 768 (Devlin et al. 2019).
    BertBase,
    /// A transformer over patches of series, of 3 layers of 96.
    PatchTiny,
    /// A transformer over patches of series, of 6 layers of 256.
    PatchSmall,
    /// A network of three layers of 128, for states.
    Mlp,
}

impl EncoderKind {
    /// The kind of data that it reads; None where it is chosen by that.
    pub fn modality(self) -> Option<Modality> {
        match self {
            Self::Auto => None,
            Self::BertTiny | Self::BertMini | Self::BertBase => Some(Modality::Text),
            Self::PatchTiny | Self::PatchSmall => Some(Modality::Series),
            Self::Mlp => Some(Modality::Transition),
            _ => Some(Modality::Image),
        }
    }

    /// Whether it is a ResNet, whatever the device.
    pub fn is_resnet(self) -> bool {
        matches!(self, Self::ResnetTiny | Self::Resnet18 | Self::Resnet50)
    }

    /// Whether it is a ViT, whatever the device.
    pub fn is_vit(self) -> bool {
        matches!(self, Self::VitTiny | Self::VitSmall | Self::VitBase)
    }
}

/// The proxy task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveKind {
    /// `simclr` for pictures, `mlm` for texts, `masked` for series, `icm` for transitions.
    #[default]
    Auto,
    /// Two views of a picture find each other among the others' (Chen et al. 2020).
    Simclr,
    /// Two views of a picture are alike, dimensions vary and say different things (Bardes et al. 2022).
    Vicreg,
    /// A hidden region is painted from what is around it (Context Encoders, Pathak et al. 2016).
    Inpaint,
    /// Three quarters of the patches are predicted from the rest (masked autoencoder, He et al. 2022); ViT only.
    Mae,
    /// Hidden words are predicted, and whether a half of a passage follows the other (Devlin et al. 2019).
    Bert,
    /// Hidden words are predicted, and the halves of a passage find each other among the others'.
    Mlm,
    /// Hidden patches of a series are predicted, and two overlapping crops of a window find each other among the others'.
    Masked,
    /// What was done is told from the states before and after it, and the state after it is predicted (intrinsic curiosity
    /// module, Pathak et al. 2017).
    Icm,
}

impl ObjectiveKind {
    /// The objective of a stream of this kind of data: what `auto` stands for.
    pub fn of(self, modality: Modality) -> Self {
        match (self, modality) {
            (Self::Auto, Modality::Image) => Self::Simclr,
            (Self::Auto, Modality::Text) => Self::Mlm,
            (Self::Auto, Modality::Series) => Self::Masked,
            (Self::Auto, Modality::Transition) => Self::Icm,
            (chosen, _) => chosen,
        }
    }

    /// Whether its heads say what is hidden, and are published beside the encoder.
    pub fn has_decoder(self) -> bool {
        matches!(self, Self::Inpaint | Self::Mlm | Self::Bert | Self::Masked | Self::Icm)
    }

    /// The kind of data that it learns from; None where it is chosen by that.
    pub fn modality(self) -> Option<Modality> {
        match self {
            Self::Auto => None,
            Self::Simclr | Self::Vicreg | Self::Inpaint | Self::Mae => Some(Modality::Image),
            Self::Bert | Self::Mlm => Some(Modality::Text),
            Self::Masked => Some(Modality::Series),
            Self::Icm => Some(Modality::Transition),
        }
    }
}

/// `[learning]`: the learner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LearningConfig {
    /// The proxy task: of pictures `simclr`, `vicreg`, `inpaint` or `mae`, of texts `mlm` or `bert`, of series `masked`, of
    /// transitions `icm`; `auto` is the first.
    pub objective: ObjectiveKind,
    /// Whether `inpaint` also has an adversary that tells painted regions from real ones: sharper, and dearer.
    pub inpaint_adversarial: bool,
    /// The network: `auto`; of pictures `resnet_tiny`, `resnet18`, `resnet50`, `vit_tiny`, `vit_small` or `vit_base`; of texts
    /// `bert_tiny`, `bert_mini` or `bert_base`; of series `patch_tiny` or `patch_small`; of transitions `mlp`.
    pub encoder: EncoderKind,
    /// A folder whose weights a stream without a checkpoint continues from: as timm saves it (`config.json`,
    /// `model.safetensors`), or a BERT as Hugging Face saves it (with `tokenizer.json`), which is then the stream's network.
    pub init: Option<PathBuf>,
    /// Pixels of the shorter side at which pictures are kept, and of the square the encoder sees.
    /// 0: the encoder's own (64 for `resnet_tiny` and `vit_tiny`, 224 for the others). A ViT cuts pictures of up to 96
    /// into patches of 8, larger ones into patches of 16.
    pub image_px: u32,
    /// Tokens of a text's vocabulary, where it is trained on the stream's own first texts.
    pub vocab_size: u32,
    /// Bytes of text that it is trained on; learning begins when so many have arrived, or no more do.
    pub vocab_bytes: usize,
    /// Tokens of one text that the network sees, at most; 0: the network's own (128 for `bert_tiny` and `bert_mini`, 256 for the
    /// others).
    pub tokens_max: u32,
    /// Numbers of a state of a transition, at most. Shorter states are filled up with zeros.
    pub state_dims_max: u32,
    /// Choices of a discrete action, or numbers of a real one, at most.
    pub actions_max: u32,
    /// Samples of one step. 0: the encoder's own (256 for `resnet18` and `vit_small`, 64 for texts and series, 128 for the others).
    pub batch: usize,
    /// Peak learning rate at batch 256; scaled by the square root of `batch / 256`. A tenth of it with `init`, a fifth for `bert_base`.
    pub learning_rate: f64,
    /// The most that the alignment with the teacher may weigh in the loss. It weighs nothing while nothing is being
    /// forgotten. 0: never aligned.
    pub alignment_max: f64,
    /// Weight decay of AdamW.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Steps after the warm-up over which it falls to 0.3 of its peak, where it stays for ever.
    pub cooldown_steps: u64,
    /// `auto`, `fp32` or `bf16`.
    pub precision: Precision,
    /// Seed of weights, batches and augmentations.
    pub seed: u64,
    /// Samples that must be in the buffer before the first step.
    pub samples_min: usize,
    /// Seconds between two checkpoints.
    pub checkpoint_s: u64,
    /// Checkpoints kept.
    pub checkpoints_kept: usize,
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self {
            objective: ObjectiveKind::Auto,
            inpaint_adversarial: false,
            encoder: EncoderKind::Auto,
            init: None,
            image_px: 0,
            vocab_size: 8_192,
            vocab_bytes: 1 << 20,
            tokens_max: 0,
            state_dims_max: 256,
            actions_max: 32,
            batch: 0,
            learning_rate: 5e-4,
            alignment_max: 0.5,
            weight_decay: 1e-4,
            warmup_steps: 500,
            cooldown_steps: 20_000,
            precision: Precision::Auto,
            seed: 0,
            samples_min: 16,
            checkpoint_s: 60,
            checkpoints_kept: 3,
        }
    }
}
