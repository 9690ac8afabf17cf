//! The bound on what is held of bodies that end here, over all requests.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gate::refusal::Refusal;

/// Bytes to a permit: a semaphore has fewer permits than memory has bytes on a small machine.
const UNIT: u64 = 1024;

/// Room for bodies.
pub(super) struct Buffers(Arc<Semaphore>);

/// A body, or its beginning, with the room that it takes.
pub(super) struct Buffer {
    room: Arc<Semaphore>,
    body: BytesMut,
    permits: Option<OwnedSemaphorePermit>,
}

impl Buffers {
    /// Room for so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// An empty body. Room is taken as it grows, and not for a length that somebody only claims.
    pub(super) fn begin(&self) -> Buffer {
        Buffer { room: Arc::clone(&self.0), body: BytesMut::new(), permits: None }
    }
}

impl Buffer {
    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.body.len() as u64
    }

    /// Adds a piece, if there is room for it. Nobody waits for room while holding some.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let held = self.permits.as_ref().map_or(0, |permits| permits.num_permits() as u64);
        let needed = (self.len() + piece.len() as u64).div_ceil(UNIT);
        let more = u32::try_from(needed.saturating_sub(held)).map_err(|_| Refusal::BuffersFull)?;
        if more > 0 {
            let permits = Arc::clone(&self.room).try_acquire_many_owned(more);
            let permits = permits.map_err(|_| Refusal::BuffersFull)?;
            match &mut self.permits {
                Some(held) => held.merge(permits),
                None => self.permits = Some(permits),
            }
        }
        self.body.extend_from_slice(piece);
        Ok(())
    }

    /// The body, and its room, to be kept as long as the body is.
    pub(super) fn finish(self) -> (Bytes, Option<OwnedSemaphorePermit>) {
        (self.body.freeze(), self.permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_as_bodies_grow_and_comes_back() {
        let buffers = Buffers::new(4 * UNIT);
        let mut first = buffers.begin();
        for _ in 0..3 {
            first.push(&[0; 1000]).unwrap();
        }
        let mut second = buffers.begin();
        second.push(&[1; 1024]).unwrap();
        assert_eq!(second.push(&[1]), Err(Refusal::BuffersFull));
        assert_eq!(first.push(&[0; 100]), Err(Refusal::BuffersFull));
        assert_eq!(second.len(), 1024, "what was there is not touched");
        let (body, room) = first.finish();
        assert_eq!((body.len(), second.push(&[1])), (3000, Err(Refusal::BuffersFull)));
        drop(room);
        second.push(&[1; 3000]).unwrap();
    }
}
