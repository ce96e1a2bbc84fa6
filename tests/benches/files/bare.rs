//! The same bytes over one stream of plain quinn, from memory to memory, in this process.

use std::time::Instant;

use bytes::Bytes;
use vernam_tests::telephone::cpu_of;

use super::Run;
use crate::stream::lanes::Lanes;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

pub(crate) fn run(bytes: u64) -> anyhow::Result<Run> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let lanes = Lanes::open().await;
        let (mut send, mut receive) = lanes.plain().await;
        let (begin, before) = (Instant::now(), cpu_of(std::process::id())?);
        let sending = tokio::spawn(async move {
            let piece = vec![1_u8; PIECE];
            let mut left = bytes;
            while left > 0 {
                let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                send.write_chunk(Bytes::copy_from_slice(&piece[..len])).await?;
                left -= len as u64;
            }
            send.finish()?;
            anyhow::Ok(())
        });
        let (mut piece, mut left) = (vec![0; PIECE], bytes);
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            receive.read_exact(&mut piece[..len]).await?;
            left -= len as u64;
        }
        sending.await??;
        let cpu = cpu_of(std::process::id())?.saturating_sub(before);
        Ok(Run { took: begin.elapsed(), cpu: [Some(cpu), None], memory: [None, None] })
    })
}
