package org.pytorch.serve.http;

import io.netty.handler.codec.http.HttpRequest;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;
import java.util.UUID;

/**
 * One request as the access log tells of it: by whom, method, route, status, time, and its id.
 *
 * <p>TorchServe's own class of this name writes the whole address down. A caller may put a tweet there by mistake, in
 * the query or in the path; so ours names the route only, and nothing that the caller made up. Why at all:
 * docs/adr/0002.
 */
public class Session {
    private static final Set<String> METHODS =
            setOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT");
    private static final Set<String> ROUTES =
            setOf(
                    "predictions", "explanations", "invocations", "models", "v1", "v2", "ping", "metrics", "workflows",
                    "wfpredict", "token", "api-description");

    private final String requestId = UUID.randomUUID().toString();
    private final long startTime = System.currentTimeMillis();
    private final String remoteIp;
    private final String method;
    private final String route;
    private final String protocol;
    private int code = 200;

    /** Notes a request over HTTP. */
    public Session(String remoteIp, HttpRequest request) {
        this.remoteIp = remoteIp;
        boolean readable = request.decoderResult().isSuccess();
        String name = readable ? request.method().name() : "?";
        method = METHODS.contains(name) ? name : "?";
        route = readable ? routeOf(request.uri()) : "?";
        protocol = readable ? "HTTP/" + request.protocolVersion().majorVersion() : "HTTP";
    }

    /** Notes a call over gRPC; TorchServe passes the name of the service's method, which is not the caller's. */
    public Session(String remoteIp, String grpcMethod) {
        this.remoteIp = remoteIp;
        method = "gRPC";
        route = grpcMethod;
        protocol = "HTTP/2";
    }

    /** Returns the id that the caller gets in the header x-request-id. */
    public String getRequestId() {
        return requestId;
    }

    /** Sets the status of the answer. */
    public void setCode(int code) {
        this.code = code;
    }

    @Override
    public String toString() {
        long tookMs = System.currentTimeMillis() - startTime;
        return remoteIp + " \"" + method + " " + route + " " + protocol + "\" " + code + " " + tookMs + " " + requestId;
    }

    private static String routeOf(String uri) {
        String[] parts = uri.split("[/?#;]", 3);
        boolean known = parts.length > 1 && parts[0].isEmpty() && ROUTES.contains(parts[1]);
        return known ? "/" + parts[1] : "?";
    }

    private static Set<String> setOf(String... names) {
        return Collections.unmodifiableSet(new HashSet<>(Arrays.asList(names)));
    }
}
