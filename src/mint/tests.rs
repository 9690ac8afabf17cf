use std::sync::atomic::AtomicUsize;

use tokio::sync::Notify;

use super::*;

const NOW: UnixTime = UnixTime(1_700_000_000);

/// Mints `token-1`, `token-2`, … that live an hour, fails while told to, and waits while told to.
#[derive(Default)]
struct FakeMinter {
    calls: AtomicUsize,
    failing: AtomicBool,
    slow: AtomicBool,
    proceed: Notify,
}

#[async_trait]
impl TokenMinter for FakeMinter {
    async fn mint(&self, audience: &str, now: UnixTime) -> Result<Minted, MintError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.slow.load(Ordering::SeqCst) {
            self.proceed.notified().await;
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err(MintError { audience: audience.to_owned(), why: "down".to_owned() });
        }
        let bearer = HeaderValue::from_str(&format!("Bearer {audience}-{number}")).unwrap();
        Ok(Minted { bearer, minted: now, expires: UnixTime(now.0 + 3600) })
    }
}

fn mint() -> (Arc<FakeMinter>, Arc<Mint>) {
    let fake = Arc::new(FakeMinter::default());
    let minter: Arc<dyn TokenMinter> = fake.clone();
    (fake, Arc::new(Mint::new(["a", "b"].into_iter(), &minter)))
}

fn after(seconds: u64) -> UnixTime {
    UnixTime(NOW.0 + seconds)
}

async fn settle(fake: &FakeMinter, calls: usize) {
    while fake.calls.load(Ordering::SeqCst) < calls {
        tokio::task::yield_now().await;
    }
    // The task that fetched has still to store what it got.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_audience_has_its_own_token_which_is_kept() {
    let (fake, mint) = mint();
    assert_eq!(mint.token("a", NOW).await.unwrap(), "Bearer a-1");
    assert_eq!(mint.token("b", NOW).await.unwrap(), "Bearer b-2");
    assert_eq!(mint.token("a", after(3000)).await.unwrap(), "Bearer a-1");
    assert_eq!(fake.calls.load(Ordering::SeqCst), 2);
    assert!(mint.token("c", NOW).await.unwrap_err().to_string().contains("BUG"));
}

#[tokio::test]
async fn near_the_end_one_renewal_runs_while_the_old_token_serves() {
    let (fake, mint) = mint();
    mint.token("a", NOW).await.unwrap();
    fake.slow.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(mint.token("a", after(3400)).await.unwrap(), "Bearer a-1");
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.calls.load(Ordering::SeqCst), 2);
    fake.proceed.notify_one();
    settle(&fake, 2).await;
    assert_eq!(mint.token("a", after(3401)).await.unwrap(), "Bearer a-2");
}

#[tokio::test]
async fn a_failed_renewal_leaves_the_old_token_in_use_until_it_ends() {
    let (fake, mint) = mint();
    mint.token("a", NOW).await.unwrap();
    fake.failing.store(true, Ordering::SeqCst);
    assert_eq!(mint.token("a", after(3500)).await.unwrap(), "Bearer a-1");
    settle(&fake, 2).await;
    assert_eq!(mint.token("a", after(3580)).await.unwrap(), "Bearer a-1");
    settle(&fake, 3).await;
    assert!(mint.token("a", after(3595)).await.is_err());
}

#[tokio::test]
async fn without_a_token_all_wait_for_one_call_and_share_its_failure() {
    let (fake, mint) = mint();
    fake.failing.store(true, Ordering::SeqCst);
    fake.slow.store(true, Ordering::SeqCst);
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let mint = Arc::clone(&mint);
            tokio::spawn(async move { mint.token("a", NOW).await })
        })
        .collect();
    settle(&fake, 1).await;
    fake.proceed.notify_one();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap_err().why, "down");
    }
    assert_eq!(fake.calls.load(Ordering::SeqCst), 1);
    fake.failing.store(false, Ordering::SeqCst);
    fake.slow.store(false, Ordering::SeqCst);
    assert!(mint.token("a", after(1)).await.is_ok());
}

#[tokio::test]
async fn a_token_that_the_upstream_refused_is_replaced_once_in_a_while() {
    let (fake, mint) = mint();
    mint.token("a", NOW).await.unwrap();
    mint.discard("a", after(5));
    assert_eq!(mint.token("a", after(5)).await.unwrap(), "Bearer a-1");
    mint.discard("a", after(30));
    assert_eq!(mint.token("a", after(30)).await.unwrap(), "Bearer a-2");
    assert_eq!(fake.calls.load(Ordering::SeqCst), 2);
}
