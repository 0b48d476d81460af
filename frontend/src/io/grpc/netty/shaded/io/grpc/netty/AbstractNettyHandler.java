package io.grpc.netty.shaded.io.grpc.netty;

import io.grpc.ChannelLogger;
import io.grpc.netty.shaded.io.netty.channel.ChannelHandlerContext;
import io.grpc.netty.shaded.io.netty.channel.ChannelPromise;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2CodecUtil;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2ConnectionDecoder;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2ConnectionEncoder;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2Exception;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2Settings;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2Stream;

/**
 * What grpc-java's handlers of a connection share, but without its measurement of bandwidth. That of release 1.50, which is
 * in TorchServe's jar, sends a PING with nearly every call, and each is answered (upstream they get rarer since 1.53). Here
 * the windows stay as they are at the start, 1 MiB: what the builder's flowControlWindow(1 MiB) does, which is inside
 * TorchServe's main class.
 */
abstract class AbstractNettyHandler extends GrpcHttp2ConnectionHandler {
    private static final long NO_TIMEOUT = -1;

    private final int initialConnectionWindow;
    private final FlowControlPinger flowControlPing = new FlowControlPinger();
    private ChannelHandlerContext ctx;
    private boolean initialWindowSent;

    AbstractNettyHandler(
            ChannelPromise channelUnused,
            Http2ConnectionDecoder decoder,
            Http2ConnectionEncoder encoder,
            Http2Settings initialSettings,
            ChannelLogger negotiationLogger,
            boolean autoFlowControl,
            PingLimiter pingLimiter) {
        super(channelUnused, decoder, encoder, initialSettings, negotiationLogger);
        gracefulShutdownTimeoutMillis(NO_TIMEOUT); // a shutdown waits for the calls that are under way
        Integer window = initialSettings.initialWindowSize();
        initialConnectionWindow = window == null ? -1 : window;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext ctx) throws Exception {
        this.ctx = ctx;
        super.handlerAdded(ctx);
        sendInitialConnectionWindow();
    }

    @Override
    public void channelActive(ChannelHandlerContext ctx) throws Exception {
        super.channelActive(ctx);
        sendInitialConnectionWindow();
    }

    @Override
    public final void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) throws Exception {
        if (Http2CodecUtil.getEmbeddedHttp2Exception(cause) == null) {
            onError(ctx, false, cause); // of the whole connection; the class that inherits keeps the status
        } else {
            super.exceptionCaught(ctx, cause);
        }
    }

    protected final ChannelHandlerContext ctx() {
        return ctx;
    }

    FlowControlPinger flowControlPing() {
        return flowControlPing;
    }

    void setAutoTuneFlowControl(boolean isOn) {}

    private void sendInitialConnectionWindow() throws Http2Exception {
        if (!initialWindowSent && ctx.channel().isActive()) {
            Http2Stream whole = connection().connectionStream();
            int current = connection().local().flowController().windowSize(whole);
            decoder().flowController().incrementWindowSize(whole, initialConnectionWindow - current);
            initialWindowSent = true;
            ctx.flush();
        }
    }

    /** Sends none. */
    static final class FlowControlPinger {
        private static final long PAYLOAD = 1234;

        long payload() {
            return PAYLOAD;
        }

        void onDataRead(int dataLength, int paddingLength) {}

        void updateWindow() throws Http2Exception {}
    }

    /** Asked before a ping by grpc-java's own class. */
    interface PingLimiter {
        boolean isPingAllowed();
    }
}
