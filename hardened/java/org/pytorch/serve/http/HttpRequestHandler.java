package org.pytorch.serve.http;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.ChannelPromise;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpExpectationFailedEvent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import io.netty.util.ReferenceCountUtil;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.model.ModelNotFoundException;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.archive.workflow.WorkflowNotFoundException;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.NettyUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hands a request to whoever answers it and turns what is thrown into a status.
 *
 * <p>Seven things differ from TorchServe's own class of this name. No exception message reaches the log: it may quote
 * the request, and with it a text. The access log holds the route, not the address: people put texts into query strings. A request that is at fault gets a 4xx where it got 403 or 500: a broken %-escape,
 * an address without a leading slash. The management port answers loopback names only, so that a web page which points
 * its own name at 127.0.0.1 cannot reach it (DNS rebinding). A connection ends with the refusal of `Expect:
 * 100-continue`, so that a body which comes all the same is no second request. The headers by which TorchServe tells the
 * model what is asked of it are TorchServe's alone: a caller's are dropped. A long answer with an error status arrives
 * whole. Why at all: docs/adr/0002.
 */
public class HttpRequestHandler extends SimpleChannelInboundHandler<FullHttpRequest> {
    private static final Logger LOGGER = LoggerFactory.getLogger(HttpRequestHandler.class);
    private static final Pattern LOOPBACK_HOST =
            Pattern.compile("(localhost|127(\\.\\d{1,3}){3}|\\[::1])\\.?(:\\d+)?", Pattern.CASE_INSENSITIVE);
    private static final int LOGGED_FRAMES = 6;
    /** Headers that TorchServe adds itself. Source: 0.12, InferenceRequestHandler, ManagementRequestHandler. */
    private static final List<String> COMMANDS = Arrays.asList("explain", "describe");

    private static final String UNKNOWN = "?";
    private static final List<String> METHODS =
            Arrays.asList("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT");
    private static final List<String> ROUTES =
            Arrays.asList(
                    "predictions", "explanations", "invocations", "models", "v1", "v2", "ping", "metrics", "workflows",
                    "wfpredict", "token", "api-description");

    private final HttpRequestHandlerChain handlerChain;

    /** Keeps the first link of the chain that answers. */
    public HttpRequestHandler(HttpRequestHandlerChain chain) {
        handlerChain = chain;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext ctx) {
        // TorchServe asks for 0, which throws away what the caller has not received yet when a connection ends, as it
        // does with each answer from 400 on: the end of a long list of errors was lost. Source: 0.12, ModelServer.
        ctx.channel().config().setOption(ChannelOption.SO_LINGER, -1);
        ChannelPipeline pipeline = ctx.pipeline();
        pipeline.addBefore(pipeline.context(HttpObjectAggregator.class).name(), "refusals", new RefusedExpectation());
    }

    @Override
    protected void channelRead0(ChannelHandlerContext ctx, FullHttpRequest req) {
        try {
            NettyUtils.requestReceived(ctx.channel(), withoutText(req));
            if (!req.decoderResult().isSuccess()) {
                throw new BadRequestException("Invalid HTTP message.");
            }
            if (isForeignHost(ctx.channel().localAddress(), req.headers().get(HttpHeaderNames.HOST))) {
                String message = "the header Host is no loopback name; expected localhost or 127.0.0.1 on this port";
                NettyUtils.sendError(ctx, HttpResponseStatus.FORBIDDEN, new BadRequestException(message));
                return;
            }
            QueryStringDecoder decoder = new QueryStringDecoder(req.uri());
            String path = decoder.path();
            if (!path.startsWith("/")) {
                throw new ResourceNotFoundException();
            }
            COMMANDS.forEach(req.headers()::remove);
            handlerChain.handleRequest(ctx, req, decoder, path.split("/"));
        } catch (Throwable t) {
            HttpResponseStatus status = statusOf(t);
            if (status == HttpResponseStatus.INTERNAL_SERVER_ERROR
                    || status == HttpResponseStatus.INSUFFICIENT_STORAGE) {
                LOGGER.error("request {} failed: {}", NettyUtils.getRequestId(ctx.channel()), withoutMessage(t));
            }
            NettyUtils.sendError(ctx, status, t);
        }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
        if (cause instanceof IOException) {
            LOGGER.debug("a client went away");
        } else {
            LOGGER.error("a connection failed: {}", withoutMessage(cause));
        }
        if (cause instanceof OutOfMemoryError) {
            NettyUtils.sendError(ctx, HttpResponseStatus.INSUFFICIENT_STORAGE, cause);
        }
        ctx.close();
    }

    /** Returns what the access log may hold of a request: method and route where they are TorchServe's own words. */
    private static HttpRequest withoutText(HttpRequest request) {
        boolean isReadable = request.decoderResult().isSuccess();
        String method = isReadable ? request.method().name() : UNKNOWN;
        String[] parts = isReadable ? request.uri().split("[/?#;]", 3) : new String[0];
        boolean isRoute = parts.length > 1 && parts[0].isEmpty() && ROUTES.contains(parts[1]);
        return new DefaultHttpRequest(
                request.protocolVersion(),
                HttpMethod.valueOf(METHODS.contains(method) ? method : UNKNOWN),
                isRoute ? "/" + parts[1] : UNKNOWN);
    }

    private static HttpResponseStatus statusOf(Throwable t) {
        if (t instanceof ResourceNotFoundException
                || t instanceof ModelNotFoundException
                || t instanceof ModelVersionNotFoundException
                || t instanceof WorkflowNotFoundException) {
            return HttpResponseStatus.NOT_FOUND;
        }
        if (t instanceof MethodNotAllowedException) {
            return HttpResponseStatus.METHOD_NOT_ALLOWED;
        }
        if (t instanceof ConflictStatusException) {
            return HttpResponseStatus.CONFLICT;
        }
        if (t instanceof RequestTimeoutException) {
            return HttpResponseStatus.REQUEST_TIMEOUT;
        }
        if (t instanceof ServiceUnavailableException) {
            return HttpResponseStatus.SERVICE_UNAVAILABLE;
        }
        if (t instanceof OutOfMemoryError) {
            return HttpResponseStatus.INSUFFICIENT_STORAGE;
        }
        if (t instanceof ModelException || t instanceof DownloadArchiveException || t instanceof IllegalArgumentException) {
            return HttpResponseStatus.BAD_REQUEST;
        }
        return HttpResponseStatus.INTERNAL_SERVER_ERROR;
    }

    private static boolean isForeignHost(SocketAddress local, String host) {
        if (host == null || !(local instanceof InetSocketAddress)) {
            return false;
        }
        InetSocketAddress here = (InetSocketAddress) local;
        SocketAddress management =
                ConfigManager.getInstance().getListener(ConnectorType.MANAGEMENT_CONNECTOR).getSocketAddress();
        return here.getAddress().isLoopbackAddress()
                && management instanceof InetSocketAddress
                && ((InetSocketAddress) management).getPort() == here.getPort()
                && !LOOPBACK_HOST.matcher(host).matches();
    }

    private static String withoutMessage(Throwable t) {
        return Arrays.stream(t.getStackTrace())
                .limit(LOGGED_FRAMES)
                .map(String::valueOf)
                .collect(Collectors.joining(" < ", t.getClass().getName() + " at ", ""));
    }

    /**
     * Ends a connection whose `Expect: 100-continue` was refused with 413 or 417. netty 4.1.53 forgets the request and its
     * announced length, answers, and takes the next bytes for a new request. A caller that sends the body without waiting,
     * as it may (RFC 9110, section 10.1.1), would have it executed.
     */
    private static final class RefusedExpectation extends ChannelDuplexHandler {
        /** Bytes that come are read and dropped for so long: a close with unread bytes may cost the caller the answer. */
        private static final long LINGER_MILLIS = 500;

        private boolean isRefused;

        @Override
        public void userEventTriggered(ChannelHandlerContext ctx, Object event) throws Exception {
            isRefused = isRefused || event instanceof HttpExpectationFailedEvent;
            super.userEventTriggered(ctx, event);
        }

        @Override
        public void channelRead(ChannelHandlerContext ctx, Object message) throws Exception {
            if (isRefused) {
                ReferenceCountUtil.release(message);
            } else {
                super.channelRead(ctx, message);
            }
        }

        @Override
        public void write(ChannelHandlerContext ctx, Object message, ChannelPromise promise) throws Exception {
            if (isRefused && message instanceof HttpResponse && isRefusal(((HttpResponse) message).status())) {
                ((HttpResponse) message).headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
                promise.addListener(done -> ctx.executor().schedule(() -> ctx.close(), LINGER_MILLIS, TimeUnit.MILLISECONDS));
            }
            super.write(ctx, message, promise);
        }

        private static boolean isRefusal(HttpResponseStatus status) {
            return status.equals(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE)
                    || status.equals(HttpResponseStatus.EXPECTATION_FAILED);
        }
    }
}
