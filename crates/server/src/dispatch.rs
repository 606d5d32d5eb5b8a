//! From a path and a method to a handler: the routes as a table that is filled at start.
//!
//! Handlers and extractors are the framework's; its router is not used. It would match each path a second time, because figures and
//! limits know a request's route before, and it copies boxes and fills maps for every request that few handlers look into. Not here:
//! which routes there are (`router`), what stands around them (`front`).

mod name;

use std::future::ready;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRef, Request};
use axum::handler::Handler;
use axum::http::header::{ALLOW, CONTENT_LENGTH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{PathItem, Paths};
use utoipa::openapi::{OpenApi, RefOr, schema::Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::app::AppState;
use crate::metrics::RouteId;
use crate::observe::RequestId;
use crate::problem::Problem;

pub use name::Name;

/// One request as handlers and their extractors see it, beside what the client sent.
#[derive(Clone)]
pub struct Call {
    /// The server's components.
    pub app: AppState,
    /// Its id, its route, its caller.
    pub id: RequestId,
}

impl FromRef<Call> for AppState {
    fn from_ref(call: &Call) -> Self {
        call.app.clone()
    }
}

impl FromRef<Call> for RequestId {
    fn from_ref(call: &Call) -> Self {
        call.id.clone()
    }
}

/// A handler at work.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;
type Answer = Box<dyn Fn(Request, Call) -> Answering + Send + Sync>;

/// A handler with what its attribute says of it.
pub struct Handled {
    schemas: Vec<(String, RefOr<Schema>)>,
    paths: Paths,
    answer: Answer,
}

impl Handled {
    /// The framework's own table of methods is not needed.
    pub fn new<T, H>((schemas, paths, _): UtoipaMethodRouter<Call>, handler: H) -> Self
    where
        H: Handler<T, Call, Future = Answering>,
    {
        let answer = Box::new(move |request, call| handler.clone().call(request, call));
        Handled { schemas, paths, answer }
    }
}

/// The handlers named, each with what its attribute says.
macro_rules! handled {
    ($($module:ident::$handler:ident),+ $(,)?) => {
        [$($crate::dispatch::Handled::new(utoipa_axum::routes!($module::$handler), $module::$handler)),+]
    };
}
pub(crate) use handled;

/// A path template with its handlers.
struct Route {
    template: String,
    handlers: Vec<(Method, Answer)>,
    allow: HeaderValue,
}

/// Every route.
#[derive(Default)]
pub struct Routes {
    paths: matchit::Router<RouteId>,
    routes: Vec<Route>,
}

/// Routes while they are put together, and the document that describes them.
pub struct Table {
    /// The routes.
    pub routes: Routes,
    /// What their handlers say of themselves.
    pub document: OpenApi,
}

impl Table {
    /// Nothing yet.
    pub fn new(document: OpenApi) -> Self {
        Table { routes: Routes::default(), document }
    }

    /// With further handlers.
    pub fn with(mut self, handled: impl IntoIterator<Item = Handled>) -> Self {
        for Handled { schemas, paths, answer } in handled {
            self.document.components.get_or_insert_default().schemas.extend(schemas);
            // The attribute of a handler names one path and one method.
            let named =
                paths.paths.into_iter().find_map(|(path, item)| Some((method_of(&item)?, path, item)));
            let Some((method, path, item)) = named else { continue };
            self.routes.add(&path, method, answer);
            match self.document.paths.paths.get_mut(&path) {
                Some(known) => known.merge_operations(item),
                None => _ = self.document.paths.paths.insert(path, item),
            }
        }
        self
    }
}

impl Routes {
    fn add(&mut self, template: &str, method: Method, answer: Answer) {
        let route = self.at(template);
        route.handlers.push((method, answer));
        route.allow = allow(&route.handlers);
    }

    /// The route with a template, a new one where there is none.
    fn at(&mut self, template: &str) -> &mut Route {
        let place = match self.routes.iter().position(|route| route.template == template) {
            Some(place) => place,
            None => {
                let id = RouteId::at(self.routes.len());
                self.paths.insert(template, id).expect("templates stand in the source and do not meet");
                let allow = HeaderValue::from_static("");
                self.routes.push(Route { template: template.to_owned(), handlers: Vec::new(), allow });
                self.routes.len() - 1
            }
        };
        &mut self.routes[place]
    }

    /// All templates, in the order of their routes.
    pub fn templates(&self) -> impl Iterator<Item = String> {
        self.routes.iter().map(|route| route.template.clone())
    }

    /// The route of a path.
    pub fn of(&self, path: &str) -> RouteId {
        self.paths.at(path).map_or(RouteId::NONE, |found| *found.value)
    }

    /// What stands in a path of a route at the place of its template's name.
    fn name_in<'a>(&self, route: RouteId, path: &'a str) -> Option<&'a str> {
        let template = &self.routes.get(route.place())?.template;
        let (before, rest) = template.split_once('{')?;
        let (_, after) = rest.split_once('}')?;
        path.strip_prefix(before)?.strip_suffix(after)
    }

    /// Answers a request by the handler of its route and method.
    pub fn answer(&self, request: Request, call: Call) -> Answering {
        let Some(route) = self.routes.get(call.id.route().place()) else { return at_once(not_found()) };
        let is_head = request.method() == Method::HEAD;
        let method = if is_head { &Method::GET } else { request.method() };
        let Some((_, answer)) = route.handlers.iter().find(|(known, _)| known == method) else {
            return at_once(([(ALLOW, route.allow.clone())], wrong_method()));
        };
        let answering = answer(request, call);
        if is_head { Box::pin(async { without_body(answering.await) }) } else { answering }
    }
}

/// What takes no time to answer.
fn at_once(response: impl IntoResponse) -> Answering {
    Box::pin(ready(response.into_response()))
}

/// The method of an item's one operation.
fn method_of(item: &PathItem) -> Option<Method> {
    let operations = [
        (&item.get, Method::GET),
        (&item.post, Method::POST),
        (&item.put, Method::PUT),
        (&item.patch, Method::PATCH),
        (&item.delete, Method::DELETE),
    ];
    operations.into_iter().find_map(|(operation, method)| operation.is_some().then_some(method))
}

/// The methods of a route for the header `Allow`. Who may GET may ask for the head alone.
fn allow(handlers: &[(Method, Answer)]) -> HeaderValue {
    let names = handlers.iter().map(|(method, _)| match *method {
        Method::GET => "GET,HEAD",
        ref other => other.as_str(),
    });
    let names: Vec<&str> = names.collect();
    HeaderValue::from_str(&names.join(",")).expect("names of methods make a header")
}

/// The response to HEAD: it says how long the body would be, and has none.
fn without_body(mut response: Response) -> Response {
    if let Some(bytes) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(bytes));
    }
    *response.body_mut() = Body::empty();
    response
}

fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path; see /api/v1/openapi.json",
    )
}

fn wrong_method() -> Problem {
    let detail = "this path does not have this method; see /api/v1/openapi.json";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(templates: &[&str]) -> Routes {
        let mut routes = Routes::default();
        templates.iter().for_each(|template| _ = routes.at(template));
        routes
    }

    #[test]
    fn a_path_has_one_route_and_the_name_in_it() {
        let routes = routes(&["/d", "/d/{name}", "/d/{name}/rotate", "/d/all"]);
        for (path, place, name) in [
            ("/d", Some(0), None),
            ("/d/a%20b", Some(1), Some("a%20b")),
            ("/d/x/rotate", Some(2), Some("x")),
            ("/d/all", Some(3), None),
            ("/d/", None, None),
            ("/d/x/y", None, None),
        ] {
            let route = routes.of(path);
            assert_eq!(route, place.map_or(RouteId::NONE, RouteId::at), "{path}");
            assert_eq!(routes.name_in(route, path), name, "{path}");
        }
    }

    #[test]
    fn who_may_get_may_ask_for_the_head() {
        let answer = || -> Answer { Box::new(|_, _| Box::pin(async { Response::default() })) };
        let handlers = [(Method::GET, answer()), (Method::POST, answer())];
        assert_eq!(allow(&handlers), "GET,HEAD,POST");
        let response = without_body(Response::new(Body::from("four")));
        assert_eq!(response.headers()[CONTENT_LENGTH], "4");
        assert_eq!(response.body().size_hint().exact(), Some(0));
    }
}
