package io.grpc.netty.shaded.io.netty.handler.codec.http2;

import io.grpc.netty.shaded.io.netty.buffer.ByteBuf;
import io.grpc.netty.shaded.io.netty.channel.ChannelHandlerAdapter;
import io.grpc.netty.shaded.io.netty.channel.ChannelHandlerContext;
import io.grpc.netty.shaded.io.netty.handler.logging.LogLevel;

/**
 * Logs no frame of gRPC's connections.
 *
 * <p>gRPC's own class of this name writes the first 64 bytes of every frame in hexadecimal once somebody sets the root
 * logger to DEBUG: a tweet fits in. There is no setting that leaves the rest of DEBUG. Found by
 * tests/serving/test_privacy.py. Why at all: docs/adr/0002.
 */
public class Http2FrameLogger extends ChannelHandlerAdapter {
    /** Whither a frame goes; named by the callers. */
    public enum Direction {
        INBOUND,
        OUTBOUND
    }

    /** Takes what gRPC's own class takes. */
    public Http2FrameLogger(LogLevel level) {}

    /** Takes what gRPC's own class takes. */
    public Http2FrameLogger(LogLevel level, String name) {}

    /** Takes what gRPC's own class takes. */
    public Http2FrameLogger(LogLevel level, Class<?> clazz) {}

    /** Tells that nothing is logged. */
    public boolean isEnabled() {
        return false;
    }

    /** Logs nothing. */
    public void logData(
            Direction direction, ChannelHandlerContext ctx, int streamId, ByteBuf data, int padding, boolean endStream) {}

    /** Logs nothing. */
    public void logHeaders(
            Direction direction, ChannelHandlerContext ctx, int streamId, Http2Headers headers, int padding, boolean end) {}

    /** Logs nothing. */
    public void logHeaders(
            Direction direction,
            ChannelHandlerContext ctx,
            int streamId,
            Http2Headers headers,
            int streamDependency,
            short weight,
            boolean exclusive,
            int padding,
            boolean endStream) {}

    /** Logs nothing. */
    public void logPriority(
            Direction direction, ChannelHandlerContext ctx, int streamId, int dependency, short weight, boolean alone) {}

    /** Logs nothing. */
    public void logRstStream(Direction direction, ChannelHandlerContext ctx, int streamId, long errorCode) {}

    /** Logs nothing. */
    public void logSettingsAck(Direction direction, ChannelHandlerContext ctx) {}

    /** Logs nothing. */
    public void logSettings(Direction direction, ChannelHandlerContext ctx, Http2Settings settings) {}

    /** Logs nothing. */
    public void logPing(Direction direction, ChannelHandlerContext ctx, long data) {}

    /** Logs nothing. */
    public void logPingAck(Direction direction, ChannelHandlerContext ctx, long data) {}

    /** Logs nothing. */
    public void logPushPromise(
            Direction direction, ChannelHandlerContext ctx, int streamId, int promised, Http2Headers headers, int pad) {}

    /** Logs nothing. */
    public void logGoAway(Direction direction, ChannelHandlerContext ctx, int lastStreamId, long error, ByteBuf debug) {}

    /** Logs nothing. */
    public void logWindowsUpdate(Direction direction, ChannelHandlerContext ctx, int streamId, int increment) {}

    /** Logs nothing. */
    public void logUnknownFrame(
            Direction direction, ChannelHandlerContext ctx, byte type, int streamId, Http2Flags flags, ByteBuf data) {}
}
