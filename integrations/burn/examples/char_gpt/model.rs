//! A small GPT for characters: pre-norm, no biases, no dropout, the head tied to the embedding.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::{Bool, Device, Int, Tensor, activation};
use clap::ValueEnum;

/// Characters that the model sees at once.
pub const CONTEXT: usize = 64;

/// The two sizes of the paper's experiment.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Size {
    /// 4 layers, 4 heads, width 128: 0.80 M parameters.
    Simple,
    /// 6 layers, 6 heads, width 384: 10.6 M parameters.
    Complex,
    /// 1 layer, 2 heads, width 32, for a quick look.
    Tiny,
}

impl Size {
    fn layers_heads_width(self) -> (usize, usize, usize) {
        match self {
            Self::Simple => (4, 4, 128),
            Self::Complex => (6, 6, 384),
            Self::Tiny => (1, 2, 32),
        }
    }
}

#[derive(Module, Debug)]
pub struct Gpt {
    token_embedding: Embedding,
    position_embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Block {
    attention_norm: LayerNorm,
    attention: Linear,
    attention_output: Linear,
    feedforward_norm: LayerNorm,
    feedforward: Linear,
    feedforward_output: Linear,
    heads: usize,
}

fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

fn linear(inputs: usize, outputs: usize, std: f64, device: &Device) -> Linear {
    let config = LinearConfig::new(inputs, outputs).with_bias(false);
    config.with_initializer(normal(std)).init(device)
}

fn layer_norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_bias(false).init(device)
}

impl Gpt {
    /// Random parameters, as GPT-2's: deviation 0.02, less in what adds to the residual stream.
    pub fn new(size: Size, vocabulary: usize, device: &Device) -> Self {
        let (layers, heads, width) = size.layers_heads_width();
        let embedding =
            |count| EmbeddingConfig::new(count, width).with_initializer(normal(0.02)).init(device);
        let residual = 0.02 / (2.0 * layers as f64).sqrt();
        let block = || Block {
            attention_norm: layer_norm(width, device),
            attention: linear(width, 3 * width, 0.02, device),
            attention_output: linear(width, width, residual, device),
            feedforward_norm: layer_norm(width, device),
            feedforward: linear(width, 4 * width, 0.02, device),
            feedforward_output: linear(4 * width, width, residual, device),
            heads,
        };
        Self {
            token_embedding: embedding(vocabulary),
            position_embedding: embedding(CONTEXT),
            blocks: (0..layers).map(|_| block()).collect(),
            norm: layer_norm(width, device),
        }
    }

    /// Mean cross-entropy of the next characters, in nats per character.
    pub fn loss(&self, inputs: Tensor<2, Int>, targets: Tensor<2, Int>) -> Tensor<1> {
        let device = inputs.device();
        let [batch, length] = inputs.dims();
        let positions = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze();
        let embedded = self.token_embedding.forward(inputs);
        let mut x = embedded + self.position_embedding.forward(positions);
        let future = Tensor::<2, Bool>::tril_mask([length, length], 0, &device).unsqueeze();
        for block in &self.blocks {
            x = block.forward(x, &future);
        }
        let head = self.token_embedding.weight.val().transpose().unsqueeze();
        let logits: Tensor<3> = self.norm.forward(x).matmul(head);
        let [_, _, vocabulary] = logits.dims();
        let loss = CrossEntropyLossConfig::new().init(&device);
        loss.forward(logits.reshape([batch * length, vocabulary]), targets.flatten(0, 1))
    }
}

impl Block {
    fn forward(&self, x: Tensor<3>, future: &Tensor<4, Bool>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let split = |tensor: Tensor<3>| {
            tensor.reshape([batch, length, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let mut projected =
            self.attention.forward(self.attention_norm.forward(x.clone())).chunk(3, 2).into_iter();
        let mut next = || split(projected.next().expect("three chunks"));
        let (query, key, value) = (next(), next(), next());
        let scale = ((width / self.heads) as f64).sqrt();
        let scores = query.matmul(key.transpose()) / scale;
        let weights = activation::softmax(scores.mask_fill(future.clone(), f32::NEG_INFINITY), 3);
        let attended = weights.matmul(value).swap_dims(1, 2).reshape([batch, length, width]);
        let x = x + self.attention_output.forward(attended);
        let hidden = self.feedforward.forward(self.feedforward_norm.forward(x.clone()));
        x + self.feedforward_output.forward(activation::gelu(hidden))
    }
}
