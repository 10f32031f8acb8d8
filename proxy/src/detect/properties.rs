//! What must hold of any beginning of a connection. For seeded mutations (`mutation_tests`) and for fuzzing alone.

use super::sight::{SIGHT_BYTES_MAX, Sight, sight};

/// More bytes, `step` at a time, never change a judgement that was given; which it is in the end.
///
/// # Panics
/// If they do.
pub fn judgements_stand(bytes: &[u8], step: usize) -> Sight {
    let bytes = &bytes[..bytes.len().min(SIGHT_BYTES_MAX)];
    let whole = sight(bytes);
    for length in (0..bytes.len()).step_by(step.max(1)) {
        let cut = sight(&bytes[..length]);
        assert!(
            cut == Sight::Unclear || cut == whole,
            "{cut:?} after {length} bytes became {whole:?}: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    whole
}
