//! HTTP: the question whether an account may ship, the accounts themselves, and what they used.

mod invoices;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::Response,
};
use base::Code;
use contracts::{
    Body, Words as _,
    document::{MailAddress, PhoneNumber},
};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::{
    Change, Client, FieldError, JsonBody, MutatingRoute, Operation, Problem, Profile, Query,
    Repetition, Routes, Sample, SampleCall, page, reply,
};
use store::{Store, StoredReply, Transaction};
use utoipa::{OpenApi, ToSchema};

use self::invoices::{
    __path_get_invoice, DeliveriesView, DronesView, InvoiceView, MissingView, PackagesView,
    get_invoice,
};
use crate::{
    domain::{Account, AccountError, AccountId, AccountStatus},
    store as table,
};

/// Accounts of one list.
const LIST_MAX: u32 = 1_000;

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) profile: Profile,
    /// Asks those who know what an account used.
    pub(crate) client: Client,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/account/{id}", is_active)
        .get("/api/accounts/{id}", get_account)
        .get("/api/accounts", list_accounts)
        .get("/api/invoices/{ownerId}", get_invoice)
        .change(put_row(), put_account)
        .change(erase_row(), erase_account)
        .change(status_row(), put_status)
        .with_state(shared)
}

/// The rows of everything that changes something, for the conformance tests.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![put_row(), erase_row(), status_row()]
}

/// The OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Account", description = "Who may ship, and what was shipped in a month."),
    paths(
        is_active,
        get_account,
        list_accounts,
        put_account,
        erase_account,
        put_status,
        get_invoice
    ),
    components(schemas(
        AccountView,
        AccountBody,
        AccountStatus,
        StatusView,
        InvoiceView,
        DeliveriesView,
        PackagesView,
        DronesView,
        MissingView
    ))
)]
pub(crate) struct Document;

/// An account, as clients read and write it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountView {
    account_id: String,
    display_name: String,
    email_address: String,
    sms: String,
    /// What its people read: `en` or `fi`; English when it is something else.
    language: String,
    status: AccountStatus,
    registered_business: bool,
}

/// What a client says about an account; every member may be left out.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
struct AccountBody {
    display_name: Option<Line>,
    email_address: Option<MailAddress>,
    sms: Option<PhoneNumber>,
    /// What its people read, as a language tag.
    language: Option<Line>,
    status: Option<AccountStatus>,
    registered_business: Option<bool>,
}

/// A text about an account, none of its characters control.
#[derive(ToSchema)]
#[schema(max_length = 320, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
#[expect(dead_code, reason = "the schema of the document")]
struct Line(String);

/// Whether an account may ship.
#[derive(Debug, Serialize, ToSchema)]
struct StatusView {
    status: AccountStatus,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            account_id: account.id.as_str().to_owned(),
            display_name: account.display_name,
            email_address: account.email_address,
            sms: account.sms,
            language: account.language,
            status: account.status,
            registered_business: account.registered_business,
        }
    }
}

/// Whether an account may ship. In profile demo one that nobody registered is made up; one that was
/// erased is not.
#[utoipa::path(get, path = "/api/account/{id}", responses(
    (status = 200, body = bool, content_type = "application/json"), (status = 404, description = "no such account")))]
async fn is_active(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<bool>, Problem> {
    let id = account_id(id)?;
    let wanted = id.clone();
    let found = shared.store.read(move |reader| table::find(reader, &wanted)).await?;
    if let Some(account) = found {
        return Ok(Json(account.is_active()));
    }
    if shared.profile == Profile::Strict {
        return Err(unknown());
    }
    let made_up = move |transaction: &mut Transaction<'_>| {
        // Somebody may have registered it in between.
        if let Some(account) = table::find(transaction, &id)? {
            return Ok::<_, Problem>(account.is_active());
        }
        if table::is_erased(transaction, &id)? {
            return Err(unknown());
        }
        table::put(transaction, &Account::registered_on_first_use(id))?;
        Ok(true)
    };
    Ok(Json(shared.store.write(made_up).await?))
}

/// Reads one account.
#[utoipa::path(get, path = "/api/accounts/{id}", responses(
    (status = 200, body = AccountView), (status = 404, description = "no such account")))]
async fn get_account(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<AccountView>, Problem> {
    let id = account_id(id)?;
    let found = shared.store.read(move |reader| table::find(reader, &id)).await?;
    Ok(Json(found.ok_or_else(unknown)?.into()))
}

#[derive(Debug, Deserialize)]
struct Filter {
    status: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

/// Lists accounts in the order of their ids. `Link` leads to the next page.
#[utoipa::path(get, path = "/api/accounts",
    params(("status" = Option<AccountStatus>, Query), ("limit" = Option<u32>, Query, description = "more than 1000 counts as that"),
        ("after" = Option<String>, Query, description = "those behind this id")),
    responses((status = 200, body = Vec<AccountView>)))]
async fn list_accounts(
    State(shared): State<Shared>,
    Query(filter): Query<Filter>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let status = match filter.status {
        None => None,
        Some(word) => Some(AccountStatus::from_word(&word).ok_or_else(|| {
            Problem::of(Code::InvalidRequest, format!("{} is expected", AccountStatus::WHAT))
        })?),
    };
    let limit = filter.limit.unwrap_or(LIST_MAX).min(LIST_MAX);
    let after = filter.after.unwrap_or_default();
    let found = shared.store.read(move |reader| table::list(reader, status, &after, limit)).await?;
    let rows: Vec<_> = found.into_iter().map(AccountView::from).collect();
    let last = rows.last().map(|it| it.account_id.as_str());
    Ok(page(&rows, limit as usize, query.as_deref(), last))
}

/// Registers or replaces an account.
#[utoipa::path(put, path = "/api/accounts/{id}", request_body = AccountBody, responses(
    (status = 201, body = AccountView, description = "it is new"),
    (status = 204, description = "it was replaced")))]
async fn put_account(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let account = read_account(account_id(id)?, &body)?;
    operation.run(&shared.store, &body, move |it| put(it, account)).await
}

fn put(transaction: &mut Transaction<'_>, account: Account) -> Result<StoredReply, Problem> {
    if table::put(transaction, &account)? {
        reply::json(201, &AccountView::from(account))
    } else {
        Ok(reply::empty(204))
    }
}

fn read_account(id: AccountId, body: &JsonBody) -> Result<Account, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let members = content.members();
    let text = |name| members.optional_text(name).unwrap_or_default();
    let account = Account {
        display_name: members.optional_text("displayName").unwrap_or_else(|| id.to_string()),
        email_address: members.optional_mail_address("emailAddress").unwrap_or_default(),
        sms: members.optional_phone_number("sms").unwrap_or_default(),
        language: text("language"),
        status: members.word_or("status", AccountStatus::Active),
        registered_business: members.flag_or("registeredBusiness", false),
        id,
    };
    let account = content.finish(account).map_err(Problem::of_faults)?;
    account.check().map_err(|wrong| Problem::invalid(wrong.iter().map(field_error).collect()))?;
    Ok(account)
}

fn field_error(error: &AccountError) -> FieldError {
    let member = match error {
        AccountError::Id(_) => "accountId",
        AccountError::Text { member } => member,
    };
    FieldError { pointer: format!("/{member}"), detail: error.to_string() }
}

/// Erases an account: its name and its addresses. Nobody ships under its id until it is registered
/// anew.
#[utoipa::path(delete, path = "/api/accounts/{id}", responses(
    (status = 204, description = "nothing of it is kept but its id"),
    (status = 404, description = "no such account")))]
async fn erase_account(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let id = account_id(id)?;
    let effect = move |transaction: &mut Transaction<'_>| {
        if table::erase(transaction, &id)? { Ok(reply::empty(204)) } else { Err(unknown()) }
    };
    operation.run(&shared.store, &body, effect).await
}

/// Suspends an account, or lifts that.
#[utoipa::path(put, path = "/api/accounts/{id}/status", request_body = StatusView, responses(
    (status = 204), (status = 404, description = "no such account")))]
async fn put_status(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let (id, status) = (account_id(id)?, read_status(&body)?);
    operation
        .run(&shared.store, &body, move |transaction| {
            let found = table::set_status(transaction, &id, status)?;
            if found { Ok(reply::empty(204)) } else { Err(unknown()) }
        })
        .await
}

fn read_status(body: &JsonBody) -> Result<AccountStatus, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let status = content.members().word("status");
    content.finish(status).map_err(Problem::of_faults)
}

fn account_id(text: String) -> Result<AccountId, Problem> {
    AccountId::new(text).map_err(|it| Problem::of(Code::InvalidRequest, it.to_string()))
}

fn unknown() -> Problem {
    Problem::not_found("no account has this id")
}

fn put_call(n: u32, name: &str) -> SampleCall {
    let body: Value = json!({"displayName": name, "status": "Active"});
    SampleCall::new(Method::PUT, format!("/api/accounts/sample-{n}"), Some(body))
}

fn put_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/accounts/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: Vec::new(),
            call: put_call(n, "Acme"),
            other_body: put_call(n, "Acme Ltd").body,
            undo: None,
        },
    }
}

fn erase_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/accounts/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![put_call(n, "Acme")],
            call: SampleCall::new(Method::DELETE, format!("/api/accounts/sample-{n}"), None),
            other_body: None,
            undo: None,
        },
    }
}

fn status_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/accounts/{id}/status",
        repetition: Repetition::Keyed,
        sample: |n| {
            let path = format!("/api/accounts/sample-{n}/status");
            let body = |status: &str| Some(json!({"status": status}));
            Sample {
                before: vec![put_call(n, "Acme")],
                call: SampleCall::new(Method::PUT, path, body("Suspended")),
                other_body: body("Active"),
                undo: None,
            }
        },
    }
}
