//! Checking an objective: whether all gradients of one step belong to one function, and read and write what
//! they should.

use super::Optimizer;
use super::access::check_finite;
use crate::config::{RateProbe, Storage};
use crate::error::{Error, Result};
use crate::gpu::{GpuSlice, Wait};
use crate::objective::{Objective, Part, StepInfo, UNWRITTEN};
use crate::player::{Compiled, Pause, Player};

/// Largest ‖g − g′‖ / ‖g‖ that two gradients of a sound objective at one point may show: a sum whose order
/// changes from run to run differs by rounding, a moved minibatch by orders of magnitude more.
const CONSISTENT: f64 = 1e-4;

/// [`Optimizer::check_objective`].
pub(super) async fn check(
    optimizer: &mut Optimizer,
    objective: &mut (impl Objective + ?Sized),
    wait: Wait,
) -> Result<()> {
    let params = optimizer.read_params_with(wait).await?;
    let checked = check_gradients(optimizer, objective, &params, wait).await;
    let after = optimizer.read_params_with(wait).await?;
    if after.iter().zip(&params).any(|(a, b)| a.to_bits() != b.to_bits()) {
        optimizer.write_params(&params)?;
        return Err(inconsistent("it changed the parameters; it may only write the gradient"));
    }
    checked
}

/// Plays the program of a check: two gradients at θ, and with a dimer one at a probe that is θ, and one at a
/// real probe, or on both sides.
async fn check_gradients(
    optimizer: &mut Optimizer,
    objective: &mut (impl Objective + ?Sized),
    params: &[f32],
    wait: Wait,
) -> Result<()> {
    optimizer.check_deterministic(objective)?;
    let compiled = Compiled::new(&optimizer.gpu, &optimizer.plan, &optimizer.plan.check)?;
    optimizer.prepare(wait).await?;
    optimizer.set_loss_is_stale();
    let in_pair = optimizer.repeats_minibatch();
    let first_step = StepInfo {
        index: optimizer.index,
        repeats_minibatch: in_pair,
        part: Part::WHOLE,
        checksum: 0,
    };
    // After the first of two steps on one minibatch comes the second, which the next step itself may be.
    let repeated_index = optimizer.index + u64::from(!in_pair);
    let repeats_minibatch = !optimizer.plan.alternates;
    let repeated_step = StepInfo { index: repeated_index, repeats_minibatch, ..first_step };
    objective.begin_step(first_step)?;
    let optimizer = &*optimizer;
    let mut player = Player::new(optimizer.context(), &optimizer.plan.check, &compiled);
    player.is_checked = true;
    let mut gradient = async |objective: &mut _| -> Result<Option<Vec<f32>>> {
        let mut encoder = optimizer.gpu.encoder("check");
        let Pause::Evaluate(evaluate) = player.advance(&mut encoder, false)? else {
            return Ok(None);
        };
        let (_, slice) = player.vectors(evaluate)?;
        let unwritten = vec![f32::from_bits(UNWRITTEN); optimizer.layout.padded_len()];
        optimizer.write(slice, &unwritten);
        player.call(evaluate, &mut encoder, objective)?;
        optimizer.gpu.submit("a check of the objective", encoder)?;
        written(optimizer, slice, wait).await.map(Some)
    };
    optimizer.state.forget_loss(optimizer.gpu.queue());
    let Some(first) = gradient(objective).await? else { return Ok(()) };
    check_loss(optimizer, objective, "θ", wait).await?;
    let second = gradient(objective).await?.unwrap_or_default();
    check_consistent("two gradients at θ", &first, &second, ONE_FUNCTION)?;
    if optimizer.plan.rate_probe == Some(RateProbe::RepeatedMinibatch) {
        objective.begin_step(repeated_step)?;
        let repeated = gradient(objective).await?.unwrap_or_default();
        let what = "the gradients at θ of two steps on one minibatch";
        check_consistent(what, &first, &repeated, ONE_MINIBATCH)?;
    }
    if optimizer.plan.alternates {
        objective.begin_step(repeated_step)?;
        let next = gradient(objective).await?.unwrap_or_default();
        check_consistent("the gradients at θ of two steps", &first, &next, ONE_FUNCTION_FOR_ALL)?;
    }
    let Some(at_centre) = gradient(objective).await? else { return Ok(()) };
    let what = "the gradients at θ as centre and as probe";
    check_consistent(what, &first, &at_centre, ONE_FUNCTION)?;
    optimizer.state.forget_loss(optimizer.gpu.queue());
    let displaced = gradient(objective).await?.unwrap_or_default();
    if optimizer.plan.alternates {
        check_loss(optimizer, objective, "the probe, where `Evaluation::wants_loss` says so", wait)
            .await?;
    }
    let opposite = gradient(objective).await?;
    if let Some(probe) = optimizer.probe()
        && read(optimizer, probe, wait).await? == params
    {
        // Without a dimer there is no update to look along, as where all is frozen.
        let Some(dimer) = optimizer.plan.dimer else { return Ok(()) };
        return Err(Error::InvalidConfig {
            field: "dimer.displacement",
            value: format!("{:?}", dimer.displacement),
            expected: "larger: θ + ΔR·N is θ itself in f32",
        });
    }
    let stays = displaced == first && opposite.is_none_or(|opposite| opposite == first);
    if stays && first.iter().any(|g| *g != 0.0) {
        return Err(inconsistent(
            "its gradient at the probe equals that at θ to the bit: it does not read \
             `Evaluation::params`, or the loss is linear and has no curvature to sense",
        ));
    }
    Ok(())
}

async fn read(optimizer: &Optimizer, slice: &GpuSlice, wait: Wait) -> Result<Vec<f32>> {
    let bytes = optimizer.gpu.read(slice, wait).await?;
    Ok(optimizer.layout.unpad(&Storage::F32.unpack(&bytes)))
}

/// Whether a loss that is promised is there.
async fn check_loss(
    optimizer: &Optimizer,
    objective: &(impl Objective + ?Sized),
    place: &str,
    wait: Wait,
) -> Result<()> {
    if !objective.supplies_loss() || read_loss(optimizer, wait).await?.to_bits() != UNWRITTEN {
        return Ok(());
    }
    Err(inconsistent(format!(
        "it did not write its loss at {place}, although `supplies_loss` is true; write `Evaluation::loss`, or \
         return false"
    )))
}

async fn read_loss(optimizer: &Optimizer, wait: Wait) -> Result<f32> {
    let loss = GpuSlice::whole(optimizer.state.loss.clone());
    let bytes = optimizer.gpu.read(&loss, wait).await?;
    Ok(bytemuck::pod_read_unaligned(&bytes))
}

/// A gradient, if every element of it was written and is finite.
async fn written(optimizer: &Optimizer, slice: &GpuSlice, wait: Wait) -> Result<Vec<f32>> {
    let found = read(optimizer, slice, wait).await?;
    if let Some(index) = found.iter().position(|g| g.to_bits() == UNWRITTEN) {
        return Err(inconsistent(format!(
            "it did not write element {index} of the gradient, or added to what lay there"
        )));
    }
    check_finite("gradient", &found)?;
    Ok(found)
}

fn inconsistent(reason: impl Into<String>) -> Error {
    Error::InconsistentObjective { reason: reason.into() }
}

/// What gradients that differ say about the objective.
const ONE_FUNCTION: &str = "they belong to two functions: the minibatch moved, or randomness (dropout) is live; fix \
     both in `begin_step`";
const ONE_FUNCTION_FOR_ALL: &str = "`Rotation::Alternating` needs one function for all steps, as the objective says of \
     itself in `is_deterministic`; take another rotation for minibatches";
const ONE_MINIBATCH: &str = "`begin_step` has to keep the minibatch, and any randomness, where \
     `StepInfo::repeats_minibatch` is true";

fn check_consistent(what: &str, a: &[f32], b: &[f32], otherwise: &str) -> Result<()> {
    let difference = relative_difference(a, b);
    if difference <= CONSISTENT {
        return Ok(());
    }
    Err(inconsistent(format!("{what} differ by {difference:.1e} of their norm: {otherwise}")))
}

/// ‖a − b‖ / ‖a‖; 0 if both are equal to the bit.
fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let difference = sum(&mut pairs().map(|(a, b)| a - b));
    let norm = sum(&mut pairs().map(|(a, _)| a));
    if difference == 0.0 { 0.0 } else { difference / norm }
}
