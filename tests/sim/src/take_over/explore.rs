//! Breadth first through every state.

use std::collections::HashMap;
use std::fmt;

use super::step::next;
use super::{Bounds, Owner, Rules, State};

/// What was seen when nothing broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// States in which a process refused to serve after half a transaction.
    pub refusals: usize,
    /// States in which every command had been acknowledged.
    pub all_acknowledged: usize,
}

/// The shortest way to a state that breaks a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// What does not hold.
    pub problem: String,
    /// What happened, in order.
    pub steps: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.problem)?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        Ok(())
    }
}

/// Visits every state that can be reached.
///
/// # Errors
/// The shortest [`Counterexample`].
pub fn explore(rules: Rules, bounds: Bounds) -> Result<Explored, Counterexample> {
    let mut known: HashMap<State, usize> = HashMap::new();
    // By number: the state, how it was reached, and from which.
    let mut states: Vec<(State, String, usize)> = Vec::new();
    known.insert(State::first(), 0);
    states.push((State::first(), String::new(), 0));
    let mut number = 0;
    while let Some((state, _, _)) = states.get(number) {
        for (what, reached) in next(state, rules, bounds) {
            if known.contains_key(&reached) {
                continue;
            }
            let problem = reached.broken();
            known.insert(reached.clone(), states.len());
            states.push((reached, what, number));
            if let Some(problem) = problem {
                return Err(Counterexample {
                    problem,
                    steps: way(&states),
                });
            }
        }
        number += 1;
    }
    let all = (1_u8 << bounds.commands) - 1;
    let count = |is: &dyn Fn(&State) -> bool| states.iter().filter(|(state, ..)| is(state)).count();
    Ok(Explored {
        states: states.len(),
        refusals: count(&|state| state.owners.contains(&Owner::Refused)),
        all_acknowledged: count(&|state| state.acknowledged == all),
    })
}

/// How the last state was reached.
fn way(states: &[(State, String, usize)]) -> Vec<String> {
    let mut steps = Vec::new();
    let mut number = states.len() - 1;
    while number > 0 {
        let (_, what, from) = &states[number];
        steps.push(what.clone());
        number = *from;
    }
    steps.reverse();
    steps
}
